"""Measures the peak memory of a verification in a process of its own; prints bytes as JSON. Linux only.

Usage: python -m tests.verify.measure.memory PATCHED_MINI PATCHED_LARGE SCRATCH
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from patcher.patching.record import load
from patcher.verify.measure.logits import measure
from patcher.verify.requests import prepare
from tests.verify.running import wanted


def status(name: str) -> int:
    """A line of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def main(warm_up: str, large: str, scratch: str) -> None:
    """The first model loads every library and fills every cache, so that the second shows its own price."""
    requests = [
        prepare(load(Path(folder)), Path(scratch) / name, wanted(), "cpu")
        for name, folder in (("small", warm_up), ("large", large))
    ]
    assert measure(requests[0]).failure is None
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # starts the high-water mark anew
    answer = measure(requests[1])
    print(json.dumps({"failure": answer.failure, "cap_error": answer.cap_error, "peak": status("VmHWM") - before}))


if __name__ == "__main__":
    main(*sys.argv[1:])
