"""What `patcher --help` imports and reads, against `hf --help`: counts, which are the same in each run."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.benchmarks.processes import python
from tests.benchmarks.table import Comparison
from tests.benchmarks.workshop import PROGRAMS, Workshop


def against_hf(workshop: Workshop) -> Iterator[Comparison]:
    """Two rows, bytes and modules; each command runs twice, as the first run writes bytecode."""
    ours, theirs = (counted(workshop, module) for module in ("patcher.cli", "huggingface_hub.cli.hf"))
    for name, unit, column in (("bytes read", "B", 0), ("modules", "", 1)):
        yield Comparison(f"patcher --help against hf --help: {name}", [ours[column]], [theirs[column]], unit, 1.0)


def counted(workshop: Workshop, module: str) -> tuple[int, int]:
    """Bytes that a command line read for its help, and the modules that it imported."""
    command = python(PROGRAMS / "startup.py", module, "--help")
    workshop.run(command)
    read, modules = json.loads(workshop.run(command).output.splitlines()[-1])
    return read, modules
