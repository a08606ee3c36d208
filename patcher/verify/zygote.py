"""One guarded process that imports torch once and is forked for each model, so that many models cost one start.

A fork has memory of its own: what one model's code does to the libraries, to `transformers_modules` or to itself is
gone with its process, and the next model starts from the state after the imports. The parent of the forks runs no model
code. What it can't separate is the user's account: a model that runs may do to files and processes whatever its user
may, in a fork as in a process of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from patcher.errors import VerificationError
from patcher.sandbox.guard import Process, Start, environment, popen
from patcher.sandbox.process import hurry, settle
from patcher.verify.measure.child import import_libraries

_LIBRARIES = ("torch", "safetensors.torch", "patcher.patching.convert_child", "patcher.verify.measure.capped_child")
_START = 120.0  # seconds in which the imports have to be done, on a slow disk


@contextlib.contextmanager
def imported_once(sparse_encoder: bool = False) -> Iterator[Start]:
    """What starts children for many models: forks of one process per device where the system can do that.

    Elsewhere it starts a process for each. macOS has fork, but its libraries are not fit for it once they are loaded.
    """
    if not hasattr(os, "fork") or sys.platform == "darwin":
        yield popen
        return
    zygotes: dict[str, Zygote] = {}
    with tempfile.TemporaryDirectory(prefix="patcher-", ignore_cleanup_errors=True) as name:

        def start(module: str, device: str, scratch: Path) -> Process:
            if device not in zygotes:
                place = Path(name) / device
                place.mkdir()
                zygotes[device] = Zygote(place, device, sparse_encoder)
            return zygotes[device].start(module, device, scratch)

        try:
            yield start
        finally:
            for zygote in zygotes.values():
                zygote.stop()


@dataclass
class Forked:
    """A child of the zygote; the part of subprocess.Popen that the guard needs."""

    pid: int
    stdin: IO[bytes] | None
    zygote: Zygote
    code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, negative for a signal. Raises subprocess.TimeoutExpired."""
        if self.code is None:
            self.code = self.zygote.code(timeout)
        return self.code


@dataclass
class Zygote:
    """The process that is forked. It is started when it is first needed, and again where a model took it down.

    The caches of all forks are named by one path in the environment of the process, as the libraries read that once:
    `here` below `scratch`, a link that leads to the scratch folder of the fork that runs. Only one runs at a time.
    """

    scratch: Path
    device: str
    sparse_encoder: bool = False
    process: subprocess.Popen[bytes] | None = None
    running: Forked | None = None
    _buffer: bytes = field(default=b"", repr=False)

    def start(self, module: str, device: str, scratch: Path) -> Forked:
        """Fork a child that runs `module.main(request.json, answer.json)` in `scratch`. Raises VerificationError."""
        assert device == self.device
        assert self.running is None or self.running.code is not None, "one child at a time"
        here = self.scratch / "here"
        here.unlink(missing_ok=True)
        here.symlink_to(scratch, target_is_directory=True)
        self._ensure(here)
        fifo = scratch / "stdin"
        os.mkfifo(fifo)
        stdin = os.fdopen(os.open(fifo, os.O_RDWR), "r+b", buffering=0)  # both ends: neither side waits for the other
        answer = self._tell({"module": module, "scratch": str(scratch)})
        if answer is None:
            stdin.close()
            self.stop()
            raise VerificationError("The process that loads the libraries ended.", "Run the same command again.")
        self.running = Forked(int(answer["pid"]), stdin, self)
        return self.running

    def code(self, timeout: float | None) -> int:
        """The exit code of the running child, once it has one. Raises subprocess.TimeoutExpired."""
        answer = self._line(timeout)
        if answer is None:  # the model took its parent down: nothing of this process is used again
            assert self.running is not None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.running.pid, signal.SIGKILL)
            self.stop()
            return -signal.SIGKILL
        return int(answer["code"])

    def stop(self) -> None:
        """End the process and its forks."""
        if self.process is None:
            return
        for pid in (self.running.pid if self.running and self.running.code is None else None, self.process.pid):
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.process, self.running, self._buffer = None, None, b""

    def _ensure(self, here: Path) -> None:
        if self.process is not None and self.process.poll() is None:
            return
        self.stop()
        log = self.scratch / "log.txt"
        with log.open("wb") as talk:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "patcher.verify.zygote", *(["sentence_transformers"] * self.sparse_encoder)],
                env=environment(here, self.device),
                cwd=self.scratch,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=talk,
                start_new_session=True,
            )
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._line(_START) is not None:
                return
        self.stop()
        said = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        raise VerificationError(
            f"The libraries could not be loaded: {said[-1] if said else 'their process gave no answer'}",
            "Check the installation of torch and transformers.",
        )

    def _tell(self, order: Mapping[str, Any]) -> dict[str, Any] | None:
        assert self.process is not None and self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
            return self._line(_START)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            return None

    def _line(self, timeout: float | None) -> dict[str, Any] | None:
        """The next answer of the process, None where it is gone. Raises subprocess.TimeoutExpired."""
        assert self.process is not None and self.process.stdout is not None
        out = self.process.stdout.fileno()
        deadline = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._buffer:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not select.select([out], [], [], left)[0]:
                raise subprocess.TimeoutExpired("the model", timeout or 0)
            piece = os.read(out, 4096)
            if not piece:
                return None
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer


def serve(libraries: tuple[str, ...]) -> None:
    """In the zygote: import, then fork for each order that comes in, one after another."""
    # The ways to the parent get numbers that no fork keeps: a model must not be able to answer for another.
    orders, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    # Asked through NVML, whether there is a GPU does not start CUDA, which no fork would survive.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    hurry()
    for name in libraries:
        importlib.import_module(name)
    import_libraries()
    settle()  # what collecting moves about, no fork shares
    answers.write(b"{}\n")
    for line in iter(orders.readline, b""):
        order = json.loads(line)
        stdin = os.open(Path(order["scratch"]) / "stdin", os.O_RDONLY)
        ready, begun = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.close(begun)
            os.close(ready)
            for pipe in (orders, answers):
                pipe.close()
            _run(order, stdin)
        os.close(stdin)
        os.close(begun)
        os.read(ready, 1)  # its own session exists, so that all it starts can be ended with it
        os.close(ready)
        answers.write(json.dumps({"pid": pid}).encode() + b"\n")
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what it left running, while its number is still its own
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        answers.write(json.dumps({"code": code}).encode() + b"\n")


def _run(order: Mapping[str, str], stdin: int) -> None:
    """In the fork: what `python -m module REQUEST ANSWER` would do. Never returns."""
    code = 1
    try:
        scratch = Path(order["scratch"])
        log = os.open(scratch / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for number, target in ((stdin, 0), (log, 1), (log, 2)):
            os.dup2(number, target)
        os.chdir(scratch)
        importlib.import_module(order["module"]).main(str(scratch / "request.json"), str(scratch / "answer.json"))
        code = 0
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve((*_LIBRARIES, *sys.argv[1:]))
