"""Runs a whole process and says how long it took and how much memory it and its descendants needed. Linux only.

Memory is the largest sum, over the samples, of the high-water marks of resident memory (VmHWM) of all processes that
were alive: the parent and the sandboxed child of a verification both count. The kernel keeps the mark, so no short peak
between two samples is lost; each sample starts it anew, so that two processes whose peaks are seconds apart do not
count as if they had met. Pages that two processes share, those of the interpreter above all, count twice, which is to
the disadvantage of whoever starts a second process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SAMPLES = 0.01  # seconds between two looks at /proc

# What a user's machine has after the first run: nothing to download, nothing to warn about.
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONWARNINGS": "ignore",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}


@dataclass(frozen=True)
class Run:
    """A process that ended well: `seconds` from its start to its end, `peak` in bytes, and what it printed."""

    seconds: float
    peak: int
    swapped: int
    output: str


def run(command: Sequence[str | Path], home: Path) -> Run:
    """Run a command to its end, with `home` for its caches.

    `swapped` is the largest sum of VmSwap seen, in bytes. Raises RuntimeError with the end of what it said on stderr
    where it fails: a benchmark of something that does not work says nothing.
    """
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen(
            list(map(str, command)), env=environment(home), cwd=home, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        watch = _Watch(process.pid)
        watch.start()
        try:
            code = process.wait()
        finally:
            if process.returncode is None:  # Ctrl-C: what was started ends with us
                process.terminate()
            seconds = time.perf_counter() - start
            watch.finish()
        out.seek(0)
        err.seek(0)
        if code:
            words = " ".join(map(str, command))
            raise RuntimeError(f"{words}\nended with code {code}:\n{(out.read() + err.read()).decode()[-2000:]}")
        return Run(seconds, watch.peak, watch.swapped, out.read().decode())


def python(*arguments: str | Path) -> list[str | Path]:
    """A command line of this interpreter."""
    return [sys.executable, *arguments]


def environment(home: Path) -> dict[str, str]:
    """The caller's environment, with caches in `home` and this checkout's `patcher` before an installed one."""
    passed = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return {**passed, **QUIET, "HF_HOME": str(home / "hf"), "PYTHONPATH": os.environ.get("PYTHONPATH") or str(ROOT)}


class _Watch(threading.Thread):
    """Looks at a process and its descendants until they are gone."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self.swapped, self._over = pid, 0, 0, threading.Event()

    def run(self) -> None:
        while not self._over.wait(SAMPLES):
            seen = [_status(pid) for pid in _family(self.pid)]
            self.peak = max(self.peak, sum(one["VmHWM"] for one in seen))
            self.swapped = max(self.swapped, sum(one["VmSwap"] for one in seen))

    def finish(self) -> None:
        self._over.set()
        self.join()


def _family(pid: int) -> list[int]:
    """A process and all its descendants that are alive."""
    found = [pid]
    for parent in found:
        try:
            for thread in os.listdir(f"/proc/{parent}/task"):
                found += map(int, Path(f"/proc/{parent}/task/{thread}/children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    return found


def _status(pid: int) -> Mapping[str, int]:
    """High-water mark since the last look and swapped pages of a process, in bytes; zeros when it has just ended."""
    found = {"VmHWM": 0, "VmSwap": 0}
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return found
    for line in lines:
        name, _, value = line.partition(":")
        if name in found:
            found[name] = int(value.split()[0]) * 1024
    with suppress(OSError):  # it has just ended, or another user's mark stays that of the whole run
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    return found
