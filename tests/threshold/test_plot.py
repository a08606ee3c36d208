"""The curves of a sweep, as a picture and as text."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import MissingRequirement, UsageError
from patcher.threshold.messages import Point
from patcher.threshold.plot import check_plot, curve, draw
from tests.threshold.made_up import REPORT, ROWS


@pytest.mark.parametrize(("name", "magic"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.PDF", b"%PDF")])
def test_the_picture_is_of_the_kind_that_its_name_says(tmp_path: Path, name: str, magic: bytes) -> None:
    check_plot(tmp_path / name)
    draw(REPORT, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(magic)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_active_dims_are_drawn_on_a_log_scale_and_the_star_is_the_checked_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib import pyplot

    drawn: list[Any] = []
    monkeypatch.setattr(pyplot, "close", drawn.append)
    point = Point(0.02, 0.1, document_top_k=64)
    checked = replace(ROWS[1], point=point, query_active_dims=42.0, document_active_dims=24.0)
    draw(replace(REPORT, point=point, best=point, more_rows=(checked,)), tmp_path / "a.svg")
    axes, ndcg = drawn[0].axes
    assert (axes.get_xscale(), axes.get_yscale(), ndcg.get_yscale()) == ("log", "log", "linear")
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert lines[f"checked: {point}"] == [[0.02, 42.0], [0.1, 24.0]]
    assert lines["document active dims"] == [[row.threshold, row.document_active_dims] for row in ROWS[1:]]


def test_a_sweep_without_judgements_is_drawn_without_ndcg(tmp_path: Path) -> None:
    draw(replace(REPORT, rows=tuple(replace(row, ndcg_interval=None) for row in ROWS), best=None), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert "nDCG" not in text
    assert "active dims" in text


@pytest.mark.parametrize(("name", "message"), [("a.txt", "not in an image format"), ("none/a.png", "no folder")])
def test_a_picture_that_can_not_be_drawn_is_refused_beforehand(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_plot(tmp_path / name)


def test_missing_matplotlib_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name))
    with pytest.raises(MissingRequirement, match="matplotlib") as caught:
        check_plot(tmp_path / "a.png")
    assert "pip install matplotlib" in caught.value.hint


def test_the_text_has_a_line_for_each_threshold_with_its_marks_in_place() -> None:
    head, half, full, legend = curve(ROWS)
    assert half.index("q") < half.index("n") < half.index("d"), "50 of 100 dims, nDCG 0.9, 75 of 100 dims"
    assert full.index("*") < full.index("n"), "both sides at the left end"
    assert len(half) == len(full) == len(head) + 1
    assert "log scale" in legend
