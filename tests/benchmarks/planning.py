"""Planning time: the whole command on the miniature, and the planning over every modeling file installed here.

The command is held against a process that only imports libcst and huggingface_hub; the planning against LibCST's own
parse of the same files, those of the sweep, in one process (`programs/parsing.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.benchmarks.processes import python
from tests.benchmarks.shapes import MINI
from tests.benchmarks.table import Comparison
from tests.benchmarks.workshop import PROGRAMS, Workshop

LIMIT = 1.5
PASSES = 2


def command(workshop: Workshop) -> Iterator[Comparison]:
    ours = python("-m", "patcher", "plan", MINI, "--quiet")
    floor = python("-c", "import libcst, huggingface_hub")
    runs = workshop.alternate(ours, floor)
    yield Comparison(
        "plan, miniature, against importing libcst and huggingface_hub: time",
        [first.seconds for first, _ in runs],
        [second.seconds for _, second in runs],
        "s",
        LIMIT,
    )


def sweep(workshop: Workshop, passes: int = PASSES, files: int | None = None) -> Iterator[Comparison]:
    """`files` takes that many of the modeling files instead of all."""
    words = [str(passes), *([str(files)] if files else [])]
    found = json.loads(workshop.run(python(PROGRAMS / "parsing.py", *words)).output)
    ours, parser = zip(*found, strict=True)
    yield Comparison("plan, all installed modeling files, against parsing them: time", ours, parser, "s", LIMIT)
