"""One table of ratios, measured on this machine: `python -m tests.benchmarks [--only NAME] [--pairs N] [--markdown]`.

What each row compares is said in the module that makes it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks import (
    against_encode,
    bos,
    each_byte,
    encoding,
    head,
    lists,
    many_texts,
    planning,
    publish,
    startup,
    threshold,
    training,
    verify,
    xlarge,
)
from tests.benchmarks.table import Comparison, machine, render
from tests.benchmarks.workshop import Workshop

Benchmark = Callable[[Workshop], Iterator[Comparison]]

BENCHMARKS: Mapping[str, Benchmark] = {
    "verify": verify.miniature,
    "verify-base": verify.base,
    "texts": many_texts.flat,
    "verify-encode": against_encode.miniature,
    "verify-encode-base": against_encode.base,
    "encode": encoding.miniature,
    "encode-head": encoding.head,
    "encode-flat": encoding.flat,
    "forward": head.forward,
    "threshold": threshold.encode,
    "training": training.cpu,
    "training-rows": training.memory,
    "threshold-sweep": threshold.sweep,
    "startup": startup.against_hf,
    "jobs": lists.jobs,
    "plan": planning.command,
    "sweep": planning.sweep,
    "publish": publish.against_upload_folder,
    "bytes": each_byte.of_base,
    "bos": bos.without_against_with,
}
# More than five minutes, or gigabytes on the disk.
LARGE: Mapping[str, Benchmark] = {
    "threshold-100k": threshold.largest_sweep,
    "verify-sparse-encoder": verify.base_with_sparse_encoder,
    "xlarge": xlarge.verify,
    "encode-flat-100000": encoding.flat_100000,
    "publish-1gb": publish.of_a_gigabyte,
    "bytes-xlarge": each_byte.of_xlarge,
}


def main() -> int:
    """Measure and print the table. The exit code says whether everything ran, not what the ratios are."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=[*BENCHMARKS, *LARGE], metavar="NAME", default=[])
    parser.add_argument("--all", action="store_true", help=f"also {', '.join(LARGE)}")
    parser.add_argument("--pairs", type=int, default=5, help="of whole processes (default %(default)s)")
    parser.add_argument("--markdown", action="store_true", help="the table as the README has it")
    parser.add_argument("--json", type=Path, help="also write every single measurement here")
    parser.add_argument("--list", action="store_true", help="print the names and leave")
    given = parser.parse_args()
    if given.list:
        print("\n".join([*BENCHMARKS, *LARGE]))
        return 0
    if sys.platform != "linux":
        print("Error: the benchmarks read /proc.\nHint: run them on Linux.", file=sys.stderr)
        return 2
    chosen = {**BENCHMARKS, **(LARGE if given.all or given.only else {})}
    rows: list[Comparison] = []
    failed = False
    with tempfile.TemporaryDirectory(prefix="patcher-benchmark-") as root:
        workshop = Workshop(Path(root), given.pairs)
        for name, benchmark in chosen.items():
            if given.only and name not in given.only:
                continue
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                for row in benchmark(workshop):
                    rows.append(row)
                    print("  ".join(row.cells()), file=sys.stderr, flush=True)
            except RuntimeError as error:  # the others took their time too
                print(f"{name} could not be measured: {error}", file=sys.stderr, flush=True)
                failed = True
    print(render(rows, given.markdown))
    print(f"\nMedians of {given.pairs} pairs where whole processes are compared, on {machine()}.")
    if given.json:
        given.json.write_text(json.dumps([asdict(row) | {"ratio": row.ratio} for row in rows], indent=2))
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
