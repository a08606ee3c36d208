"""The demo's output states its start, each seed and the spread between seeds."""

from __future__ import annotations

from dataclasses import replace

from patcher.verify.report import Check
from tests.threshold.demo import Run, lines
from tests.threshold.made_up import PASSED, REPORT, ROW, row


def test_each_seed_has_a_row_and_all_of_them_a_spread() -> None:
    def report(sparsity: float, ndcg: float, passed: bool) -> object:
        checks = (*PASSED.checks, Check("query_sparsity", passed, sparsity, 0.99, "low"))
        return replace(REPORT, checks=checks, rows=(replace(ROW, ndcg=0.58), row(0.05, sparsity, ndcg=ndcg)))

    runs = [Run(1, report(0.995, 0.583, True), 80.0), Run(2, report(0.98, 0.57, False), 90.0)]  # type: ignore[arg-type]
    said = "\n".join(lines(runs, 200))
    assert "rescaled before training: logits x became 10 x - 70" in said and "200 SPLADE steps with the cap" in said
    assert "| 1 | 99.50 % / 99.50 % | 0.580 → 0.583 | passed all 2 |" in said
    assert "| 2 | 98.00 % / 98.00 % | 0.580 → 0.570 | failed: query_sparsity |" in said
    assert "| all 2 | 98.00 % to 99.50 % / 98.00 % to 99.50 % | 0.580 to 0.580 → 0.570 to 0.583 | |" in said
    assert "90 s of CPU at most" in said
