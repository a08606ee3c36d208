"""`patcher export` as a user runs it."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from patcher.cli import main
from tests.conftest import Run
from tests.threshold.models import CODE

# A graph keeps the branch that it was made with, that of short texts.
LENGTH = "        seq_length = x.size(-2)\n"
BRANCH = "        if seq_length > 40:\n            x = x * 0.5\n"
needs_onnxruntime = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="onnxruntime is not installed")


@needs_onnxruntime
def test_a_graph_is_written_with_its_tokenizer_and_a_record(patched: Path, tmp_path: Path, cli: Run) -> None:
    out = tmp_path / "onnx"
    done = cli("export", patched, "--out", out, "--trust-remote-code", "--json")
    assert done.returncode == 0, done.stderr
    found, record = json.loads(done.stdout), json.loads((out / "export.json").read_text())
    assert found["passed"] and found["texts"] == 65 and 0 <= found["error"] <= found["tolerance"] < 1e-3
    assert record["fingerprint"] == found["fingerprint"] and record["tool"]["name"] == "splade-patcher"
    assert {path.name for path in out.iterdir()} >= {"model.onnx", "tokenizer.json", "export.json"}
    assert not list(out.glob("*.py"))


@needs_onnxruntime
def test_a_graph_that_differs_is_not_written(patched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = (patched / CODE).read_text()
    assert code.count(LENGTH) == 1
    (patched / CODE).write_text(code.replace(LENGTH, LENGTH + BRANCH))
    out = tmp_path / "onnx"
    assert main(["export", str(patched), "--out", str(out), "--trust-remote-code"]) == 1
    shown, err = capsys.readouterr()
    assert "FAILED: the graph differs" in shown, err
    assert not out.exists()


def test_nothing_runs_without_a_yes(patched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(patched), "--out", str(tmp_path / "onnx")]) == 3
    assert "--trust-remote-code" in capsys.readouterr().err
