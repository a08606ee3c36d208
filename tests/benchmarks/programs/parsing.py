"""Seconds that the codemod and LibCST's own parser need for the same files, file by file in turns in one process.

    python parsing.py PASSES [FILES]

The files are all modeling files of the installed transformers and sentence-transformers packages, or the first FILES of
them at even distances. Prints [[ours, parser], ...] as JSON, one pair of sums per pass.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import libcst as cst

from patcher.codemods import Code
from patcher.codemods.soft_cap import soft_cap

PACKAGES = ("transformers", "sentence_transformers")


def modeling_files() -> list[Path]:
    """Every modeling_*.py of the installed packages, in a fixed order; neither package is imported."""
    found: list[Path] = []
    for name in PACKAGES:
        spec = find_spec(name)
        assert spec is not None and spec.origin is not None
        found += sorted(Path(spec.origin).parent.rglob("modeling_*.py"))
    return found


def plan_all(files: Sequence[Path]) -> None:
    """Plan each file as if its masked-LM or causal-LM class were the target."""
    for path in files:
        content = path.read_bytes()
        heads = [line.split()[1] for line in content.decode().splitlines() if line.startswith("class ")]
        names = tuple(name.partition("(")[0].rstrip(":") for name in heads)
        wanted = tuple(name for name in names if name.endswith(("ForMaskedLM", "ForCausalLM")))
        soft_cap(Code(path.name, content, {}, wanted))


def parse_all(files: Sequence[Path]) -> None:
    """Parse each file with LibCST, and nothing else."""
    for path in files:
        cst.parse_module(path.read_bytes())


def seconds(work: Callable[[Sequence[Path]], None], files: Sequence[Path]) -> float:
    start = time.perf_counter()
    work(files)
    return time.perf_counter() - start


def main(passes: str, count: str = "") -> None:
    files = modeling_files()
    if count:
        files = files[:: max(1, len(files) // int(count))][: int(count)]
    found = []
    for number in range(int(passes)):
        sums = {plan_all: 0.0, parse_all: 0.0}
        for path in files:
            for work in (plan_all, parse_all) if number % 2 == 0 else (parse_all, plan_all):
                sums[work] += seconds(work, [path])
        found.append([sums[plan_all], sums[parse_all]])
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
