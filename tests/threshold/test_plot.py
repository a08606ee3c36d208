"""The curves of a sweep, as a picture and as text."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import MissingRequirement, UsageError
from patcher.threshold.plot import check_plot, curve, draw
from tests.threshold.made_up import REPORT, ROWS


@pytest.mark.parametrize(("name", "magic"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.PDF", b"%PDF")])
def test_the_picture_is_of_the_kind_that_its_name_says(tmp_path: Path, name: str, magic: bytes) -> None:
    check_plot(tmp_path / name)
    draw(REPORT, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(magic)
    assert [path.name for path in tmp_path.iterdir()] == [name]


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
