"""The child's side of a request: import libraries, wait, enter the sandbox, work, write the answer."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import platform
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

from patcher.codec import read_json, to_json
from patcher.sandbox.process import exit_now

R = TypeVar("R")

LEVEL, PARENT = "PATCHER_SANDBOX", "PATCHER_PARENT"  # environment variables: the sandbox, the parent's process id
POLICY = "policy.json"  # what the child may access, in the scratch folder
_GRACE = 60  # seconds after which a child ends itself that its parent should have ended


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
    leave_session()
    gc.disable()  # imports make little garbage, and every collection walks through all modules
    service: Service[object] = import_module(module).SERVICE
    import_module("cattrs")
    gc.freeze()
    gc.enable()
    timeout = sys.stdin.buffer.read()  # its end is the signal that the request is complete
    path = scratch / "request.json"
    if not path.is_file():
        exit_now(0, tidy=False)
    if timeout and hasattr(signal, "alarm"):
        signal.alarm(int(timeout) + _GRACE)
    request = read_json(service.request, path.read_bytes())
    service.enter_sandbox(request, scratch)
    (scratch / "answer.json").write_text(json.dumps(to_json(service.answer(request))), "utf-8")
    exit_now(0, tidy=False)  # the parent waits for it


def leave_session() -> None:
    """Let the kernel end this process with its parent, which may be killed, and take its session's keys from it."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if (keyctl := {"x86_64": 250, "aarch64": 219}.get(platform.machine())) is not None:
        libc.syscall(keyctl, 1, None)  # KEYCTL_JOIN_SESSION_KEYRING: a new one, which bubblewrap does not make
    if os.environ.get(LEVEL) in {"hook", "none"}:  # bubblewrap ends with its parent by itself
        libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != int(os.environ[PARENT]):
            exit_now(0, tidy=False)


if __name__ == "__main__":  # python -m patcher.sandbox.child MODULE SCRATCH
    serve(sys.argv[1], Path(sys.argv[2]))
