"""The demo: the same training with the cap and without it, and the table that it prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from patcher.codec import to_json
from patcher.threshold.messages import Point
from tests.training.demo import Result, main, markdown, table


def result(metric: float, rows: list[dict[str, Any]], recommended: float | None) -> Result:
    raw = {kind: {"sparsity_ratio": metric, "active_dims": 1.0} for kind in ("query", "document")}
    report: Mapping[str, Any] = {
        "raw_metric": raw,
        "rows": rows,
        "more_rows": [],
        "recommended_point": point(recommended),
    }
    return Result({"before": {"dot_ndcg@10": 0.25}, "after": {"dot_ndcg@10": 0.75}}, report, 1.0)


def point(threshold: float | None) -> Any:
    return None if threshold is None else to_json(Point(threshold, threshold))


def row(threshold: float, sparsity: float, ndcg: float) -> dict[str, Any]:
    return {
        "threshold": threshold,
        "point": point(threshold),
        "query_embedding_sparsity": sparsity,
        "document_embedding_sparsity": sparsity,
        "ndcg@10": ndcg,
    }


def test_the_table_shows_the_threshold_that_the_sweep_found() -> None:
    patched = result(0.99, [row(0.0, 0.99, 0.75)], None)
    capped = result(0.0, [row(0.0, 0.0, 0.7), row(0.05, 0.5, 0.7), row(0.3, 0.995, 0.69)], 0.3)
    text = markdown(table({"capped": capped, "patched": patched}))
    assert "| Metric sparsity, queries / documents | 0.00 % / 0.00 % | 99.00 % / 99.00 % |" in text
    assert "| Functional sparsity with threshold 0.05 | 50.00 % / 50.00 % | 99.00 % / 99.00 % without" in text
    assert "| Functional sparsity with threshold 0.3 | 99.50 % / 99.50 % | not needed |" in text
    assert "| Inference requirement | threshold 0.3 | no threshold |" in text
    assert "| nDCG@10, bundled questions, threshold 0.3 | 0.690 | not needed |" in text


def test_the_table_asks_for_longer_training_where_no_threshold_is_recommended() -> None:
    patched = result(0.99, [row(0.0, 0.99, 0.75)], None)
    capped = result(0.0, [row(0.0, 0.0, 0.7), row(0.05, 0.0, 0.7), row(1.4, 0.2, 0.7)], None)
    text = markdown(table({"capped": capped, "patched": patched}))
    assert "longer training: no threshold gives enough zeros and keeps nDCG@10" in text
    assert text.count("threshold 0.05") == 1 and "threshold 1.4" not in text


def test_of_several_seeds_each_figure_is_a_mean_with_its_spread() -> None:
    runs = []
    for ndcg, threshold in ((0.6, 0.3), (0.7, 0.3), (0.8, 0.4)):
        patched = result(0.99, [row(0.0, 0.99, 0.75)], None)
        capped = result(0.0, [row(0.0, 0.0, ndcg), row(0.05, 0.5, 0.7), row(threshold, 0.995, 0.69)], threshold)
        runs.append({"capped": capped, "patched": patched})
    text = markdown(table(*runs))
    assert "| nDCG@10, bundled questions, after training | 0.700 (0.600–0.800) | 0.750 |" in text
    assert "| Inference requirement | threshold 0.3; threshold 0.4 | no threshold |" in text
    assert "| Functional sparsity with threshold 0.3 or 0.4 | 99.50 % / 99.50 % | not needed |" in text


@pytest.mark.slow
def test_only_the_patched_base_gives_a_sparse_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "--steps", "16", "--held-out", "40", "--seeds", "42"]) == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "table.md").read_text("utf-8")
    record = json.loads((tmp_path / "table.json").read_text("utf-8"))
    capped, patched = (record[f"{name}_threshold_report"]["raw_metric"] for name in ("capped", "patched"))
    for kind in ("query", "document"):
        assert capped[kind]["sparsity_ratio"] == 0.0
        assert patched[kind]["sparsity_ratio"] >= 0.98
    before, after = (record["patched"]["evaluation"][when]["dot_ndcg@10"] for when in ("before", "after"))
    assert after > before + 0.05
