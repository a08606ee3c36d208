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


@needs_onnxruntime
@pytest.mark.parametrize(("words", "needs"), [(["--quantize", "int8"], "onnx"), (["--to", "openvino"], "openvino")])
def test_other_graphs_are_measured_too(
    patched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], needs: str
) -> None:
    pytest.importorskip(needs, reason=f"{needs} is not installed")
    out = tmp_path / "graph"
    assert main(["export", str(patched), "--out", str(out), "--trust-remote-code", "--json", *words]) == 0
    shown, err = capsys.readouterr()
    assert "tried to use the network" not in err
    found, card = json.loads(shown), (out / "README.md").read_text()
    record = json.loads((out / "export.json").read_text())
    assert 0 < found["error"] <= found["tolerance"] < 1e-3, "the graph in float32 is that of the model"
    if needs == "openvino":
        assert {"model.xml", "model.bin"} <= record["files"].keys() and record["quantized"] is None
        assert 'compile_model(f"{folder}/model.xml"' in card and "onnx" not in card
    else:
        int8 = record["quantized"]
        assert int8["queries"] == 120 and int8["error"] > 0.01 and int8["other_first"] <= 5
        assert abs(int8["ndcg@10_graph"] - int8["ndcg@10_model"]) < 0.05 and 0.4 < int8["ndcg@10_model"] < 1
        assert (out / "model.onnx").stat().st_size < 3_000_000 and "In int8 the graph reaches nDCG@10 0." in card


def test_openvino_in_int8_is_wrong_usage(patched_once: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--to", "openvino", "--quantize", "int8", "--trust-remote-code"]
    assert main(["export", str(patched_once), *words]) == 2
    assert "can't be quantized" in capsys.readouterr().err


def test_nothing_runs_without_a_yes(
    patched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patcher.retrieval.export.find_spec", lambda _: True)  # no runtime is reached here
    assert main(["export", str(patched), "--out", str(tmp_path / "onnx")]) == 3
    assert "--trust-remote-code" in capsys.readouterr().err
