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


def serve(module: str) -> NoReturn:
    """Do what the `SERVICE` of a module says, as `python -m CHILD REQUEST ANSWER`, and end.

    Importing the module imports all libraries, while the parent still does its own work. Nothing of a model is read
    before the request is there. Ends without an answer if the parent ends without a request.
    """
    gc.disable()  # imports make little garbage, and every collection walks through all modules
    request_path, answer_path = Path(sys.argv[1]), Path(sys.argv[2])
    service: Service[object] = import_module(module).SERVICE
    import_module("cattrs")
    gc.freeze()
    gc.enable()
    sys.stdin.buffer.read()  # its end is the signal that the request is complete
    if not request_path.is_file():
        exit_now(0, tidy=False)
    request = read_json(service.request, request_path.read_bytes())
    service.enter_sandbox(request, request_path.parent)
    answer_path.write_text(json.dumps(to_json(service.answer(request))), "utf-8")
    exit_now(0, tidy=False)  # the parent waits for it
