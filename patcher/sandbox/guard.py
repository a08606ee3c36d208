"""Runs model code in a child process: no token, no network, caches of its own, and a time limit."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from patcher.constants import VERIFY_TIMEOUT
from patcher.errors import VerificationError
from patcher.printable import printable
from patcher.sandbox.hook import COMPILER, NOTE, REFUSED
from patcher.sandbox.places import PRIVATE, caller_places
from patcher.sandbox.process import leave

MAX_ANSWER, MAX_LOG = 50_000_000, 100_000  # bytes
TIMEOUT = VERIFY_TIMEOUT

_FLASH = " On a GPU flash-attn does, which Linux 6.2 can hold; --device cpu goes without."

# What a child gets of the caller's environment; everything else, tokens above all, stays behind.
_PASSED_ON = {
    "CUDA_VISIBLE_DEVICES",
    "LANG",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "PATH",
    "PYTHONHASHSEED",
    "SYSTEMROOT",
    "VIRTUAL_ENV",
}


@dataclass(frozen=True)
class Child:
    """A process that has begun to import its libraries and waits for its request. Nothing of a model runs before."""

    module: str
    device: str
    scratch: Path
    process: subprocess.Popen[bytes]

    @property
    def request(self) -> Path:
        return self.scratch / "request.json"

    @property
    def answer(self) -> Path:
        return self.scratch / "answer.json"

    @property
    def log(self) -> Path:
        return self.scratch / "log.txt"


def _start(module: str, device: str, scratch: Path) -> Child:
    """Start `python -m module REQUEST ANSWER` in a session and an environment of its own."""
    command = [sys.executable, "-m", module, str(scratch / "request.json"), str(scratch / "answer.json")]
    with (scratch / "log.txt").open("wb") as talk:
        process = subprocess.Popen(
            command,
            env=environment(scratch, device),
            cwd=scratch,
            stdin=subprocess.PIPE,
            stdout=talk,
            stderr=talk,
            start_new_session=True,
        )
    return Child(module, device, scratch, process)


@contextlib.contextmanager
def started(module: str, device: str) -> Iterator[Child]:
    """Start `python -m module REQUEST ANSWER` in the guard, in a temporary folder of its own.

    Its imports take seconds, in which the caller can do its own work. It is ended with all that it started, and its
    folder is removed, when the caller is done.
    """
    with tempfile.TemporaryDirectory(prefix="patcher-", ignore_cleanup_errors=True) as name:
        child = _start(module, device, Path(name))
        try:
            yield child
        finally:
            _stop(child.process)


def run_child(module: str, request: Mapping[str, Any], scratch: Path, device: str, timeout: float) -> dict[str, Any]:
    """Run `python -m module REQUEST ANSWER` in the guard and return the answer, a JSON object.

    `scratch` is an empty folder for the child's home, caches and temporary files; `timeout` is in seconds.
    Raises VerificationError where the child fails, gives no answer or takes too long.
    """
    (scratch / "request.json").write_text(json.dumps(request), "utf-8")
    return _answer(_start(module, device, scratch), timeout, lambda: None)


def ask(
    child: Child, request: Mapping[str, Any], timeout: float, watch: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Give a waiting child its request and return its answer; the time limit, in seconds, counts from here.

    `watch` is called some times in a second meanwhile. Raises VerificationError as `run_child` does.
    """
    child.request.write_text(json.dumps(request), "utf-8")
    return _answer(child, timeout, watch)


def _answer(child: Child, timeout: float, watch: Callable[[], None]) -> dict[str, Any]:
    try:
        assert child.process.stdin is not None
        child.process.stdin.close()  # the end of its input is what the child waits for
        code = _wait(child.process, timeout, watch)
    except subprocess.TimeoutExpired as error:
        raise VerificationError(
            f"The model did not finish within {timeout:.0f} seconds and was stopped.",
            "Give it longer with --timeout, or use a device that is faster.",
        ) from error
    finally:
        _stop(child.process)
    if code == REFUSED:
        what = left_behind(child.scratch / NOTE, 500) or "do what is not allowed"
        raise VerificationError(
            f"The model's code tried to {what}; it was stopped.",
            "Nothing in a model needs that. Read its code with `patcher plan` before you run it anywhere."
            + (_FLASH if what.startswith(COMPILER) else ""),
        )
    if code == 0 and child.answer.exists():
        return _read(child.answer)
    lines = [line for line in left_behind(child.log, MAX_LOG).splitlines() if line.strip()]
    if os.environ.get("HF_DEBUG"):
        print(printable("\n".join(lines)), file=sys.stderr)
    reason = lines[-1] if lines else f"it ended with code {code}"
    if code == -signal.SIGKILL:
        reason = "the system ended it, most likely for want of memory"
    raise VerificationError(f"The verification could not run: {reason}", "HF_DEBUG=1 shows everything that it said.")


def _read(path: Path) -> dict[str, Any]:
    """The child's answer, which may be anything: the child ran in the same process as the model's code."""
    try:
        answer = json.loads(left_behind(path, MAX_ANSWER))
        if isinstance(answer, dict):
            return answer
    except (ValueError, RecursionError):
        pass
    raise VerificationError("The verification gave no answer that can be read.", "Run it again; HF_DEBUG=1 shows more.")


def left_behind(path: Path, limit: int) -> str:
    """The last `limit` bytes of a file that a child wrote; nothing where it put a link or a pipe in its place."""
    try:
        place = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return ""
    with open(place, "rb") as file:
        about = os.fstat(place)
        if not stat.S_ISREG(about.st_mode):
            return ""
        file.seek(max(0, about.st_size - limit))
        return file.read(limit).decode("utf-8", "replace")


def await_request(asked: str) -> dict[str, Any]:
    """In the child, its libraries imported: wait for the request. Leaves where the parent went away without one."""
    gc.freeze()
    gc.enable()
    sys.stdin.buffer.read()
    path = Path(asked)
    if not path.is_file():
        raise SystemExit(0)
    request: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return request


def run_main(main: Callable[[str, str], None]) -> NoReturn:
    """In the child: import, wait, answer, and end as soon as the answer is on the disk, for the parent waits for it."""
    gc.disable()  # imports make little garbage, and collecting walks through all modules every time
    main(sys.argv[1], sys.argv[2])
    leave(0, tidy=False)


def _wait(process: subprocess.Popen[bytes], timeout: float, watch: Callable[[], None]) -> int:
    """The exit code. Raises subprocess.TimeoutExpired."""
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        try:
            return process.wait(min(left, 0.2))
        except subprocess.TimeoutExpired:
            if left <= 0.2:
                raise
            watch()


def environment(scratch: Path, device: str) -> dict[str, str]:
    """The environment of a child: what it needs of the caller's, its own home and caches, and no token."""
    passed = {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith("LC_")}
    if device == "cpu":
        passed["CUDA_VISIBLE_DEVICES"] = ""  # this family asks torch.cuda.is_available(), not the tensor's device
    here = str(Path(__file__).parents[2])
    return {
        **passed,
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "TEMP": str(scratch),
        "TMP": str(scratch),
        PRIVATE: caller_places(),
        "HF_HOME": str(scratch / "hf"),
        "HF_MODULES_CACHE": str(scratch / "modules"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        "XDG_CACHE_HOME": str(scratch / "cache"),
        # glibc gives the memory of a freed batch of logits back at once, and keeps that of small tensors for the next
        # (see hardware.keep_freed, which knows what is small).
        "MALLOC_MMAP_THRESHOLD_": "4000000",
        "MALLOC_TRIM_THRESHOLD_": "16000000",
        "PYTHONPATH": here,
        "PYTHONIOENCODING": "utf-8",
        "PYTHONWARNINGS": "ignore",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started in its session, also when it ended by itself."""
    if child.stdin is not None:
        child.stdin.close()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
