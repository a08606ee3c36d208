"""Runs a command and writes to a file what it read and wrote: `python metered.py FILE COMMAND...`.

The kernel adds the counters of a process to those of the one that waits for it, so none of its descendants is missed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def counters() -> dict[str, int]:
    lines = Path("/proc/self/io").read_text().splitlines()
    return {name: int(value) for name, value in (line.split(": ") for line in lines)}


before = counters()
code = subprocess.call(sys.argv[2:])
after = counters()
Path(sys.argv[1]).write_text(json.dumps({name: after[name] - before[name] for name in after}))
raise SystemExit(code)
