"""A list of four miniatures with `--jobs 2` against `--jobs 1`: each is patched and verified on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.paired import Command
from tests.benchmarks.processes import python
from tests.benchmarks.shapes import MINI
from tests.benchmarks.table import Comparison
from tests.benchmarks.workshop import Workshop

AGAIN = (
    "import shutil, sys; shutil.rmtree(sys.argv[1], ignore_errors=True); from patcher.cli import main; "
    "sys.exit(main(sys.argv[2:]))"
)


def jobs(workshop: Workshop, models: int = 4, options: Sequence[str] = ()) -> Iterator[Comparison]:
    """Two rows, seconds and bytes, from the same runs."""
    listed = workshop.root / "list.txt"
    listed.write_text("".join(f"{MINI} model-{number}\n" for number in range(models)))
    runs = workshop.alternate(*(patch_all(listed, workshop.root / f"jobs-{n}", n, options) for n in (2, 1)))
    two, one = zip(*runs, strict=True)
    what = f"patch --all of {models} miniatures, --jobs 2 against --jobs 1"
    yield Comparison(f"{what}: time", [run.seconds for run in two], [run.seconds for run in one], "s")
    yield Comparison(f"{what}: memory", [run.peak for run in two], [run.peak for run in one], "B")


def patch_all(listed: Path, out: Path, number: int, options: Sequence[str]) -> Command:
    """The command for the whole list, into a folder that is removed first."""
    words = ("--no-sparse-encoder", "--trust-remote-code", "--device", "cpu", "--quiet", *options)
    return python("-c", AGAIN, out, "patch", "--all", listed, "--out", out, "--jobs", str(number), *words)
