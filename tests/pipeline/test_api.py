"""Calibrated logits: the smallest constant that reaches the gate, visible in code and configuration, and checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patcher.patching.record import load
from patcher.verify.measure.histogram import FINE
from tests.conftest import MINI, Run

TARGET = 0.9999


def test_a_calibrated_patch_passes_its_gate_and_says_what_it_subtracts(tmp_path: Path, cli: Run) -> None:
    out = tmp_path / "shifted"
    arguments = ("--out", out, "--trust-remote-code", "--device", "cpu", "--calibrate", str(TARGET), "--json")
    done = cli("patch", MINI, *arguments)
    assert done.returncode == 0, done.stderr
    model, report = load(out), json.loads(done.stdout)["report"]
    assert model.soft_cap is not None
    shift = model.soft_cap.shift
    assert shift > 0 and shift * FINE == int(shift * FINE)
    assert report["after"]["logit_sparsity"] > TARGET
    names = {check["name"]: check["passed"] for check in report["checks"]}
    assert names["rankings_kept"] and names["cap_removed_exactly"] and names["predictions_unchanged"]
    # One constant, where a reader of the code and a reader of the configuration look for it.
    code = (out / "modeling_gptbert.py").read_text("utf-8")
    assert f"SPLADE_LOGIT_SHIFT = {shift!r}  #" in code
    assert code.count("subword_prediction = subword_prediction - SPLADE_LOGIT_SHIFT\n") == 1
    assert json.loads((out / "config.json").read_text())["splade_logit_shift"] == shift
    assert model.options.shift == shift and str(shift) in (out / "README.md").read_text("utf-8")
    # Nothing else of the configuration changed, and the record can make the base again.
    assert model.originals["config.json"] == (MINI / "config.json").read_bytes()
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (MINI, out))
    assert after == {**before, "splade_logit_shift": shift}


def test_a_model_that_passes_is_not_shifted(patched: Path) -> None:
    model = load(patched)
    assert model.soft_cap is not None and model.soft_cap.shift == 0
    assert "SPLADE_LOGIT_SHIFT" not in (patched / "modeling_gptbert.py").read_text("utf-8")


@pytest.mark.parametrize("other", ["--no-verify", "--all=list.txt"])
def test_a_calibration_needs_one_model_and_its_run(tmp_path: Path, cli: Run, other: str) -> None:
    done = cli("patch", MINI, "--out", tmp_path / "out", "--calibrate", "0.98", other)
    assert done.returncode == 2 and "--calibrate measures one model" in done.stderr
