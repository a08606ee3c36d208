"""Seconds that planning and LibCST's own parser need for the same files, file by file in turns in one process.

    python parsing.py PASSES [FILES]

The files are those of the sweep (`tests/sweep`), or FILES of them at even distances; planning is what the sweep does:
the cap of every class, and the repairs, proofs included. Prints [[ours, parser], ...] as JSON, one pair of sums per
pass.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.sweep.sweep import Source, parse_all, plan_all, sources


def seconds(work: Callable[[Sequence[Source]], Any], files: Sequence[Source]) -> float:
    start = time.perf_counter()
    work(files)
    return time.perf_counter() - start


def main(passes: str, count: str = "") -> None:
    files = sources()
    if count:
        files = files[:: max(1, len(files) // int(count))][: int(count)]
    found = []
    for number in range(int(passes)):
        sums = [0.0, 0.0]
        for source in files:
            for which in (0, 1) if number % 2 == 0 else (1, 0):
                sums[which] += seconds((plan_all, parse_all)[which], [source])
        found.append(sums)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
