"""Runs model code in a child process with no token, no network, its own caches, and a time limit."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import signal
import site
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from patcher.codec import Unreadable, read_json, to_json
from patcher.errors import FREE_TEMPORARY, VerificationError, see
from patcher.printable import one_line, printable
from patcher.sandbox.access import child_policy
from patcher.sandbox.bubblewrap import Level, choose_level, command
from patcher.sandbox.child import LEVEL, PARENT, POLICY
from patcher.sandbox.hook import ENDED, NOTE, REFUSED
from patcher.temporary import claimed, remove_abandoned

T = TypeVar("T")

logger = logging.getLogger(__name__)

MAX_ANSWER, MAX_LOG = 50_000_000, 100_000  # bytes

# What a child inherits of the caller's environment: nothing else, and no token.
_PASSED_ON = {
    "CUDA_VISIBLE_DEVICES", "LANG", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "PATH", "PYTHONHASHSEED", "SYSTEMROOT",
    "VIRTUAL_ENV",
}  # fmt: skip


@dataclass(frozen=True)
class Child:
    """A process that imports its libraries and waits for its request. It runs nothing of a model before that."""

    device: str
    scratch: Path
    process: subprocess.Popen[bytes]

    @property
    def denied(self) -> tuple[str, ...]:
        """What the model's code tried and was denied, in words; those words are partly its own."""
        lines = left_behind(self.scratch / NOTE, MAX_LOG).splitlines()
        return tuple(one_line(line)[:300] for line in lines if not line.startswith(ENDED))


@contextlib.contextmanager
def started(
    module: str,
    device: str,
    readable: Iterable[Path] = (),
    sandbox: str = "auto",
    parent: Path | None = None,
    python: Path | None = None,
) -> Iterator[Child]:
    """Start a child that does what the `SERVICE` of a module says, in a temporary folder of its own.

    It may read the files and folders in `readable`, which bubblewrap shows it as they are now: what is written into
    such a folder later is seen, another folder is not. `sandbox` is one of `bubblewrap.LEVELS`; `parent` is the folder
    to make the temporary one in, other than the system's. `python` is another interpreter, which lacks what
    `patcher.sandbox.child` needs and runs the module by itself.

    Its imports take seconds, during which the caller can work. When the caller is done, the child and everything that
    it started are ended and its folder is removed.

    Raises UsageError for a sandbox that does not run here and for a folder with private files in it.
    """
    level = choose_level(sandbox)
    root = Path(parent or tempfile.gettempdir())
    remove_abandoned((path.parent for path in root.glob(f"patcher-????????/{POLICY}")), older_than=3600)
    with claimed(lambda: Path(tempfile.mkdtemp(prefix="patcher-", dir=root))) as scratch:
        child = _start(module, device, scratch, readable, level, python)
        try:
            yield child
        finally:
            _stop(child.process)


def ask(child: Child, request: object, answer: type[T], timeout: float, watch: Callable[[], None] = lambda: None) -> T:
    """Give a waiting child its request and return its answer, which are what `patcher.codec` writes and reads.

    The time limit, in seconds, counts from here; `watch` is called several times a second meanwhile.
    Raises VerificationError if the child fails, takes too long, or gives an answer that can't be read.
    """
    (child.scratch / "request.json").write_text(json.dumps(to_json(request)), "utf-8")
    try:
        assert child.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended already, which its code says
            child.process.stdin.write(b"%d" % min(timeout, 1e9))
            child.process.stdin.close()  # the end of its input is what the child waits for
        code = _wait(child.process, timeout, watch)
    except subprocess.TimeoutExpired as error:
        why = f"The model did not finish within {timeout:.0f} seconds and was stopped."
        raise VerificationError(why, "Increase the limit with --timeout, or use a faster device.") from error
    finally:
        _stop(child.process)
    _report_attempts(child, code)
    path = child.scratch / "answer.json"
    if code != 0 or not path.exists():
        raise _failed(child, code)
    try:
        return read_json(answer, left_behind(path, MAX_ANSWER))
    except Unreadable as error:  # the child ran in the same process as the model's code: it may be anything
        why = f"The child process's answer can't be read: {printable(str(error))[:300]}"
        raise VerificationError(why, "Run the same command again; HF_DEBUG=1 prints the traceback.") from error


def _start(
    module: str, device: str, scratch: Path, readable: Iterable[Path], level: Level, python: Path | None = None
) -> Child:
    policy = child_policy(scratch, readable, python)
    (scratch / POLICY).write_text(json.dumps(to_json(policy)), "utf-8")
    words = command(policy, scratch, device) if level == "bubblewrap" else []
    words += [sys.executable, "-m", "patcher.sandbox.child"] if python is None else [str(python), "-m"]
    variables = {
        **environment(scratch, device),
        # Without bubblewrap no compiler may start: what torch.compile decorates then runs as it is.
        **({"TORCHDYNAMO_DISABLE": "1"} if level == "hook" else {}),
        LEVEL: level,
        PARENT: str(os.getpid()),
    }
    if python is not None:  # it finds this package in its working folder, and none of this interpreter's others
        del variables["PYTHONPATH"]
        (scratch / "patcher").symlink_to(Path(__file__).parents[1])
    with (scratch / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [*words, module, str(scratch)],
            env=variables,
            cwd=scratch,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return Child(device, scratch, process)


def _report_attempts(child: Child, code: int) -> None:
    """Log what the child was denied. Raises VerificationError if it was ended for what it tried."""
    for attempt in child.denied:
        logger.warning("The model's code tried to %s, which was denied.", attempt)
    ended = [line for line in left_behind(child.scratch / NOTE, MAX_LOG).splitlines() if line.startswith(ENDED)]
    if code == REFUSED or ended:
        what = one_line(ended[0].removeprefix(ENDED))[:300] if ended else "do what is not allowed"
        raise VerificationError(
            f"The model's code tried to {what}; it was stopped.",
            "No model needs that. Read its code with `patcher plan` before you run it anywhere." + see("stopped"),
        )


def _failed(child: Child, code: int) -> VerificationError:
    lines = [line for line in left_behind(child.scratch / "log.txt", MAX_LOG).splitlines() if line.strip()]
    if os.environ.get("HF_DEBUG"):
        logger.warning("%s", printable("\n".join(lines)))
    reason = lines[-1] if lines else f"it ended with code {code}"
    if shutil.disk_usage(child.scratch).free < MAX_LOG:
        why = f"The model could not be run: no space is left in {child.scratch.parent}."
        return VerificationError(why, FREE_TEMPORARY)
    if code in {-signal.SIGKILL, 128 + signal.SIGKILL}:  # of the child itself, or of bubblewrap's
        reason = "the system killed it, most likely for lack of memory"
    return VerificationError(f"The model could not be run: {reason}", "Set HF_DEBUG=1 for the full output.")


def left_behind(path: Path, limit: int) -> str:
    """The last `limit` bytes of a file that a child wrote; empty if it put a link or a pipe there."""
    try:
        with open_written(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
            return file.read(limit).decode("utf-8", "replace")
    except OSError:
        return ""


def open_written(path: Path) -> BinaryIO:
    """Open a file that a child wrote. Raises OSError for anything but a regular file: a link, a pipe, or none."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return open(descriptor, "rb")


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
    """The environment variables of a child: its own home and caches, and no token."""
    passed = {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith("LC_")}
    if device == "cpu":
        passed["CUDA_VISIBLE_DEVICES"] = ""  # this family asks torch.cuda.is_available(), not the tensor's device
    searched = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {
        **passed,
        **dict.fromkeys(("HOME", "TMPDIR", "TEMP", "TMP"), str(scratch)),
        "HF_HOME": str(scratch / "hf"),
        "HF_MODULES_CACHE": str(scratch / "modules"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        "XDG_CACHE_HOME": str(scratch / "cache"),
        # glibc returns the memory of a freed batch of logits at once and keeps that of small tensors for reuse
        # (hardware.tune_malloc keeps both where batches are large).
        "MALLOC_MMAP_THRESHOLD_": "4000000",
        "MALLOC_TRIM_THRESHOLD_": "16000000",
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # asks the kernel for huge pages: fewer faults in large tensors
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, [str(Path(__file__).parents[2]), *filter(None, searched)])),
        "PYTHONUSERBASE": site.getuserbase(),  # packages of `pip install --user` lie below the caller's home
        "PYTHONIOENCODING": "utf-8",
        "PYTHONWARNINGS": "ignore",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started in its session, even if it ended by itself."""
    if child.stdin is not None:
        child.stdin.close()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
