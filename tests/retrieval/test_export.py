"""An export is written when rounding explains how it differs, and otherwise not at all."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from patcher.errors import MissingRequirement, OutputError, PatcherError
from patcher.retrieval import export as exporting
from patcher.retrieval.export import Export, _copy, _judged, export_model
from patcher.retrieval.messages import Exported
from patcher.retrieval.model import AsPublished
from patcher.source.snapshot import resolve
from patcher.verify.messages import Unavailable
from tests.verify.made_up import GOOD

ANSWER = Exported(
    environment=GOOD.environment,
    tensors=0,
    tensors_changed=(),
    buffers=0,
    buffers_wrong=(),
    not_finite=0,
    versions={},
    error=1e-5,
    changed=3,
    largest=10.0,
    roundings=900,
    max_tokens=512,
)


@pytest.fixture
def model(patched_once: Path) -> AsPublished:
    return AsPublished(resolve(str(patched_once)))


def test_the_tolerance_is_what_rounding_explains(model: AsPublished) -> None:
    found = _judged(model, ANSWER, 65)
    assert math.isclose(found.tolerance, 2.0**-24 * 30 * 10) and found.passed


@pytest.mark.parametrize("error", [1e-4, -1.0, math.inf])
def test_a_larger_difference_and_what_is_no_number_fail(model: AsPublished, error: float) -> None:
    found: Export = _judged(model, replace(ANSWER, error=error), 65)
    assert not found.passed


def test_a_folder_of_somebody_else_and_a_missing_library_are_told_before_the_work(
    model: AsPublished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.setattr(exporting, "find_spec", lambda _: object())
    with pytest.raises(OutputError, match="was not written by"):
        export_model(model, tmp_path)
    monkeypatch.setattr(exporting, "find_spec", lambda _: None)
    with pytest.raises(MissingRequirement, match="pip install onnxruntime"):
        export_model(model, tmp_path / "out")


def test_a_child_that_could_not_run_is_no_graph(
    model: AsPublished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = replace(ANSWER, error=0.0, largest=0.0, unavailable=Unavailable(reason="OSError: no such library"))
    monkeypatch.setattr(exporting, "find_spec", lambda _: object())
    monkeypatch.setattr(exporting, "ask", lambda *_: lacking)
    with pytest.raises(PatcherError, match="no such library") as caught:
        export_model(model, tmp_path / "out")
    assert caught.value.exit_code == 3 and not (tmp_path / "out").exists()


def test_a_link_in_place_of_a_graph_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "model.onnx").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError):
        _copy(tmp_path / "model.onnx", tmp_path / "copy")
