"""Trains the capped miniature honestly, once for each seed, and judges it at the usual threshold.

    python -m tests.threshold.demo OUT [--seeds 42 43 44] [--steps N]

Nothing is set by hand. The start is rescaled (see briefly_trained.py), which every line of output says: from the
logits of a masked language model a short training does not reach zeros through the cap. What follows are ordinary
SPLADE steps with the cap in place. OUT gets a folder for each seed; the first is what `patcher threshold` then takes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from patcher.constants import THRESHOLD
from patcher.documents.formatting import percent
from patcher.source.snapshot import resolve
from patcher.threshold.evaluation import bundled_questions
from patcher.threshold.measure import Request, measure
from patcher.threshold.messages import Point
from patcher.threshold.repaired import repair
from patcher.threshold.report import ThresholdReport
from tests.threshold.briefly_trained import SCALE, SHIFT, train
from tests.threshold.models import as_published, write_loading

SEEDS, STEPS, BATCH_SIZE = (42, 43, 44), 200, 16
USUAL = Point(THRESHOLD, THRESHOLD)


@dataclass(frozen=True)
class Run:
    """One seed: its report at the usual threshold, and the seconds of CPU that training took."""

    seed: int
    report: ThresholdReport
    seconds: float

    @property
    def figures(self) -> tuple[float, ...]:
        """Embedding sparsity of queries and documents at the threshold, nDCG@10 without it and with it."""
        before, after = self.report.rows[0], self.report.row
        assert after is not None and before.ndcg is not None and after.ndcg is not None
        return after.query_sparsity, after.document_sparsity, before.ndcg, after.ndcg


def run(seed: int, loading: Path, out: Path, steps: int) -> Run:
    """Train from the rescaled start with the cap, save the model in a folder of `out`, and measure it."""
    folder = out / f"seed-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    start = time.process_time()
    train(loading, folder, rescaled=True, steps=steps, batch_size=BATCH_SIZE, pairs_read=None, seed=seed)
    seconds = time.process_time() - start
    model = repair(resolve(str(as_published(folder))))
    return Run(seed, measure(model, bundled_questions(), Request(USUAL, device="cpu")), seconds)


def lines(runs: Sequence[Run], steps: int) -> Iterator[str]:
    """What the output says: the start, one row for each seed, and the spread between them."""
    yield (
        f"The head of the miniature was rescaled before training: logits x became {SCALE:g} x - {-SHIFT:g}, which keeps"
        f" the order of tokens. Then {steps} SPLADE steps with the cap."
    )
    yield f"| seed | query / document sparsity at {THRESHOLD:g} | nDCG@10, threshold 0 → {THRESHOLD:g} | checks |"
    yield "|---|---|---|---|"
    for one in runs:
        query, document, before, after = one.figures
        failed = [check.name for check in one.report.checks if not check.passed]
        checks = f"failed: {', '.join(failed)}" if failed else f"passed all {len(one.report.checks)}"
        yield f"| {one.seed} | {percent(query)} / {percent(document)} | {before:.3f} → {after:.3f} | {checks} |"
    low, high = ([pick(values) for values in zip(*(one.figures for one in runs), strict=True)] for pick in (min, max))
    sparsity = " / ".join(f"{percent(low[side])} to {percent(high[side])}" for side in (0, 1))
    ndcg = " → ".join(f"{low[when]:.3f} to {high[when]:.3f}" for when in (2, 3))
    yield f"| all {len(runs)} | {sparsity} | {ndcg} | |"
    yield f"Training took {max(one.seconds for one in runs):.0f} s of CPU at most."


def main(argv: Sequence[str] | None = None) -> int:
    """Train and print. The exit code is 1 where a check failed for a seed."""
    parser = argparse.ArgumentParser(prog="python -m tests.threshold.demo", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    runs = []
    with tempfile.TemporaryDirectory() as place:
        loading = write_loading(Path(place))
        for seed in given.seeds:
            print(f"Training with seed {seed} ...", file=sys.stderr, flush=True)
            runs.append(run(seed, loading, given.out, given.steps))
    print("\n".join(lines(runs, given.steps)))
    return int(not all(one.report.passed for one in runs))


if __name__ == "__main__":
    raise SystemExit(main())
