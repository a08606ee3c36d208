"""Bytes sent and time of `patcher publish` against `HfApi.upload_folder` of the same folder, as a Markdown table.

    python -m tests.benchmarks.publish [--repeats N] [--sizes 10,100,1000]

Both run in processes of their own against the local Hub, in turns. The weights are random, so that Xet can't
deduplicate them, and are made anew for each upload; sizes are in MB.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.table import Comparison
from tests.benchmarks.workshop import Workshop
from tests.hub import LocalHub
from tests.hub.fixtures import OLA, client_env
from tests.publish.tools import passing_report, source_files

UPLOAD = "import sys; from huggingface_hub import HfApi; api = HfApi(); api.create_repo(sys.argv[2]); \
api.upload_folder(repo_id=sys.argv[2], folder_path=sys.argv[1])"


@dataclass(frozen=True)
class Pair:
    """One folder published in both ways. Bytes as the Hub counted them, seconds of the whole process."""

    size: int
    ours: tuple[int, float]
    theirs: tuple[int, float]

    @property
    def bytes_ratio(self) -> float:
        return self.theirs[0] / self.ours[0]

    @property
    def time_ratio(self) -> float:
        return self.theirs[1] / self.ours[1]


def against_upload_folder(workshop: Workshop) -> Iterator[Comparison]:
    """Rows of the table of `make bench`; `main` prints the table of its own."""
    for megabytes in (10, 100):
        yield from _rows(workshop, megabytes)


def of_a_gigabyte(workshop: Workshop) -> Iterator[Comparison]:
    yield from _rows(workshop, 1000)


def _rows(workshop: Workshop, megabytes: int) -> Iterator[Comparison]:
    pairs = []
    for _ in range(workshop.pairs):
        with tempfile.TemporaryDirectory(dir=workshop.root) as root:
            pairs.append(measure(megabytes * 1_000_000, Path(root)))
    name = f"publish against upload_folder, {megabytes} MB of weights"
    yield Comparison(f"{name}: bytes sent", [pair.ours[0] for pair in pairs], [pair.theirs[0] for pair in pairs], "B")
    yield Comparison(f"{name}: time", [pair.ours[1] for pair in pairs], [pair.theirs[1] for pair in pairs], "s")


def measure(size: int, root: Path) -> Pair:
    """Publish weights of `size` bytes in both ways."""
    root.mkdir(parents=True, exist_ok=True)
    with LocalHub(root / "hub") as hub:
        hub.add_user("ola", OLA)
        hub.add_user("ltg", "hf_other")
        env = client_env(hub.endpoint, root / "home", OLA)
        weights = root / "weights"
        _random_file(weights, size)
        hub.create_repo("ltg/model", {**source_files(b""), "model.safetensors": weights})
        weights.unlink()
        out = root / "out"
        _run([sys.executable, "-m", "patcher", "patch", "ltg/model", "--out", str(out), "--no-verify", "-q"], env)
        shutil.rmtree(root / "home")  # the cache holds the weights a second time
        passing_report(out)
        ours = _timed(hub, [sys.executable, "-m", "patcher", "publish", str(out), "ola/ours", "--yes", "-q"], env)
        # The Hub must not know these bytes yet, as it would not on a first upload to another place.
        _random_file(out / "model.safetensors", size)
        theirs = _timed(hub, [sys.executable, "-c", UPLOAD, str(out), "ola/theirs"], env)
    return Pair(size, ours, theirs)


def _random_file(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for start in range(0, size, 1 << 24):
            file.write(os.urandom(min(1 << 24, size - start)))


def _timed(hub: LocalHub, words: Sequence[str], env: Mapping[str, str]) -> tuple[int, float]:
    hub.reset_counters()
    start = time.perf_counter()
    _run(words, env)
    return hub.counters.uploaded, time.perf_counter() - start


def _run(words: Sequence[str], env: Mapping[str, str]) -> None:
    done = subprocess.run(words, env=dict(env), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", default="10,100,1000", help="of the weights, in MB")
    parser.add_argument("--json", type=Path, help="also write the single measurements here")
    given = parser.parse_args()
    pairs: list[Pair] = []
    print("| weights | publish sends | upload_folder sends | bytes ratio | publish | upload_folder | time ratio |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for megabytes in map(int, given.sizes.split(",")):
        found = []
        for _ in range(given.repeats):
            with tempfile.TemporaryDirectory(prefix="publish-benchmark-") as root:
                found.append(measure(megabytes * 1_000_000, Path(root)))
        pairs += found
        print(_row(megabytes, found), flush=True)
    if given.json:
        given.json.write_text(json.dumps([vars(pair) for pair in pairs], indent=2))


def _row(megabytes: int, pairs: Sequence[Pair]) -> str:
    """Medians; ratios are of pairs, then the median of those."""

    def middle(values: Sequence[float]) -> float:
        return statistics.median(values)

    return (
        f"| {megabytes} MB | {middle([p.ours[0] for p in pairs]) / 1e3:.0f} kB "
        f"| {middle([p.theirs[0] for p in pairs]) / 1e6:.1f} MB | {middle([p.bytes_ratio for p in pairs]):,.0f}x "
        f"| {middle([p.ours[1] for p in pairs]):.1f} s | {middle([p.theirs[1] for p in pairs]):.1f} s "
        f"| {middle([p.time_ratio for p in pairs]):.1f}x |"
    )


if __name__ == "__main__":
    main()
