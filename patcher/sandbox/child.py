"""The child's side of a request: import libraries, wait, enter the sandbox, work, write the answer."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

from patcher.codec import read_json, to_json
from patcher.sandbox.process import exit_now

R = TypeVar("R")


@dataclass(frozen=True)
class Service(Generic[R]):
    """What a child does: the type of its request, how it enters the sandbox, and what it answers.

    `enter_sandbox` gets the request and the scratch folder; `answer` returns a dataclass and runs in the sandbox.
    """

    request: type[R]
    enter_sandbox: Callable[[R, Path], None]
    answer: Callable[[R], object]


def serve(module: str, scratch: Path) -> NoReturn:
    """Do what the `SERVICE` of a module says, and end; `scratch` holds the request and gets the answer.

    Importing the module imports all libraries, while the parent still does its own work. Nothing of a model is read
    before the request is there. Ends without an answer if the parent ends without a request.
    """
    gc.disable()  # imports make little garbage, and every collection walks through all modules
    service: Service[object] = import_module(module).SERVICE
    import_module("cattrs")
    gc.freeze()
    gc.enable()
    sys.stdin.buffer.read()  # its end is the signal that the request is complete
    path = scratch / "request.json"
    if not path.is_file():
        exit_now(0, tidy=False)
    request = read_json(service.request, path.read_bytes())
    service.enter_sandbox(request, scratch)
    (scratch / "answer.json").write_text(json.dumps(to_json(service.answer(request))), "utf-8")
    exit_now(0, tidy=False)  # the parent waits for it


if __name__ == "__main__":  # python -m patcher.sandbox.child MODULE SCRATCH
    serve(sys.argv[1], Path(sys.argv[2]))
