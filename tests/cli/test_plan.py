"""`patcher plan` as a user runs it."""

from __future__ import annotations

import pytest

from patcher.cli import main
from tests.conftest import MINI


def test_a_plan_for_people_shows_the_diff_and_both_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(MINI)]) == 0
    out = capsys.readouterr().out
    assert "-        subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)" in out
    assert "computed_buffers" in out and "model.onnx" in out and "left out" in out
