"""`patcher threshold` as a user runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from patcher.cli import main
from patcher.verify import preconditions
from tests.conftest import Run
from tests.threshold.models import CODE


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """The command in this process; the model runs in its child all the same."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_sweep_passes_the_six_checks_recommends_draws_and_saves(handmade: Path, tmp_path: Path, cli: Run) -> None:
    plot, out = tmp_path / "sweep.png", tmp_path / "saved"
    before = {path: path.stat().st_mtime_ns for path in handmade.rglob("*")}
    done = cli(
        *("threshold", handmade, "--sweep", "--trust-remote-code", "--device", "cpu", "--json"),
        *("--plot", plot, "--save", out),
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["passed"] is True
    assert [one["name"] for one in found["checks"]] == [
        "loads_right",
        "embeddings_finite",
        "raw_metric_is_zero",
        "query_sparsity",
        "document_sparsity",
        "rankings_preserved",
    ]
    assert all(one["passed"] and one["value"] is not None for one in found["checks"])
    assert found["raw_metric"]["query"] == found["raw_metric"]["document"]
    assert found["raw_metric"]["query"]["sparsity_ratio"] == 0
    assert found["evaluation"]["bundled"] and found["evaluation"]["queries"] >= 40
    thresholds = [row["threshold"] for row in found["rows"]]
    assert thresholds == sorted(thresholds) and thresholds[0] == 0
    assert 0.05 <= found["recommended"] < 1
    assert found["rows"][0]["ndcg@10"] == 1.0 > found["rows"][-1]["ndcg@10"]
    assert found["saved"] == str(out) and (out / "sparse_threshold.py").is_file()
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert {path: path.stat().st_mtime_ns for path in handmade.rglob("*")} == before


@pytest.fixture
def texts(tmp_path: Path) -> tuple[str | Path, ...]:
    """Options that name a query and two documents of a user."""
    queries, documents = tmp_path / "queries.jsonl", tmp_path / "documents.jsonl"
    queries.write_text('{"id": 1, "text": "Hva er hovedstaden i Norge?"}\n')
    documents.write_text('{"id": 1, "text": "Oslo er hovedstaden."}\n{"id": 2, "text": "Bergen er en by."}\n')
    return "--queries", queries, "--documents", documents


def test_a_model_that_misses_the_limits_fails_with_exit_code_1_and_is_not_saved(
    capped: Path, texts: tuple[str | Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(
        capsys,
        *("threshold", capped, *texts),
        *("--trust-remote-code", "--device", "cpu", "--save", tmp_path / "saved"),
    )
    assert code == 1, err
    assert "FAILED" in out and "query_sparsity" in out and "document_sparsity" in out
    assert "`--sweep` shows" in out
    assert "was not written" in out
    assert not (tmp_path / "saved").exists()


def test_a_model_trained_on_a_patched_base_needs_no_threshold(
    capped: Path, patched_once: Path, texts: tuple[str | Path, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copyfile(patched_once / CODE, capped / CODE)
    code, out, err = run(capsys, "threshold", capped, *texts, "--trust-remote-code", "--device", "cpu")
    assert code == 0, err
    assert "needs no threshold: its cap was removed before" in out
    assert "SparseEncoder.sparsity()" in out
    assert "rankings_preserved" not in out


def test_nothing_runs_without_a_yes(capped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "threshold", capped)
    assert (code, out) == (3, "")
    assert "--trust-remote-code" in err


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_a_threshold_that_is_none_is_wrong_usage(value: str, capped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "threshold", capped, "--trust-remote-code", "--threshold", value)
    assert code == 2
    assert "Give a number above 0" in err


def test_a_model_that_is_too_slow_is_stopped(capped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "threshold", capped, "--trust-remote-code", "--device", "cpu", "--timeout", "1")
    assert code == 3
    assert "within 1 seconds" in err and "--timeout" in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_told_as_verify_tells_it(
    capped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "threshold", capped, "--trust-remote-code", "--device", "cuda", "--quiet")
    assert code == 3
    error, hint = err.splitlines()
    assert error == "Error: There is no cuda device that torch can use here; it finds cpu."
    assert hint == "Hint: Leave out --device, or install a torch that was built for it."


def test_broken_weights_are_told_before_anything_runs(capped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = next(capped.rglob("model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1])
    code, _, err = run(capsys, "threshold", capped)
    assert code == 3 and "is truncated" in err and "Run it?" not in err


def test_missing_sentence_transformers_names_the_extra(
    capped: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = preconditions.find_spec
    monkeypatch.setattr(preconditions, "find_spec", lambda name: None if "sentence" in name else found(name))
    code, _, err = run(capsys, "threshold", capped, "--trust-remote-code")
    assert code == 3
    assert "pip install 'sentence-transformers>=6,<7'" in err


def test_the_command_line_imports_neither_torch_nor_sentence_transformers() -> None:
    code = "import patcher.cli, sys; print({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
