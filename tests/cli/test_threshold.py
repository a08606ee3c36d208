"""`patcher threshold` as a user runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from patcher.cli import main
from patcher.threshold import evaluation, measure
from patcher.threshold.measure import Request
from patcher.threshold.messages import Point
from patcher.verify import preconditions
from patcher.verify import texts as texts_module
from patcher.verify.texts import load_questions
from tests.threshold.made_up import PASSED, ROW, row
from tests.threshold.measuring import few_questions
from tests.threshold.models import CODE

RUNS = ("--trust-remote-code", "--device", "cpu")
PROBES = Path(texts_module.__file__).with_name("probe.jsonl")


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """The command in this process; the model runs in its child all the same."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_sweep_passes_its_checks_recommends_draws_and_saves(
    handmade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "load_all_questions", load_questions)  # the head was set for the others
    plot, out = tmp_path / "sweep.png", tmp_path / "saved"
    before = {path: path.stat().st_mtime_ns for path in handmade.rglob("*")}
    code, printed, err = run(
        capsys,
        *("threshold", handmade, "--sweep", "--drop-bos", "--trust-remote-code", "--device", "cpu", "--json"),
        *("--plot", plot, "--save", out),
    )
    assert code == 0, err
    found: dict[str, Any] = json.loads(printed)
    assert 0.5 < found["bm25"]["ndcg@10"] < 0.8
    assert found["passed"] is True
    assert [one["name"] for one in found["checks"]] == [
        "loads_right",
        "embeddings_finite",
        "weights_fit_cap",
        "query_sparsity",
        "document_sparsity",
        "retrieval_preserved",
        "rankings_kept",
    ]
    assert all(one["passed"] and one["value"] is not None for one in found["checks"])
    assert found["raw_metric"]["query"] == found["raw_metric"]["document"]
    assert found["raw_metric"]["query"]["active_dims"] == 8191, "all but the bos token"
    assert found["evaluation"]["bundled"] and found["evaluation"]["queries"] >= 40
    thresholds = [row["threshold"] for row in found["rows"]]
    assert thresholds == sorted(thresholds) and thresholds[0] == 0
    assert found["point"] == found["recommended_point"], "what is recommended is what was checked"
    rows = [*found["rows"][1:], *found["more_rows"]]
    good = [row for row in rows if row["ndcg@10"] >= 0.99 and row["mrr@10"] >= 0.99 and row["recall@10"] >= 0.99]
    dense = ("query_embedding_sparsity", "document_embedding_sparsity")
    cheapest = min((row for row in good if all(row[key] >= 0.99 for key in dense)), key=lambda row: row["flops"])
    checked = next(row for row in rows if row["point"] == found["point"])
    assert checked["flops"] == cheapest["flops"]
    assert found["rows"][0]["ndcg@10"] == 1.0 > found["rows"][-1]["ndcg@10"]
    assert found["fit"] == "with_cap" and set(checked["ranks"].values()) == {1} and len(checked["ranks"]) == 3
    assert found["saved"] == str(out) and (out / "sparse_threshold.py").is_file()
    written = json.loads((out / "2_SparseThreshold" / "config.json").read_text())
    assert written["threshold"] == found["point"]["document_threshold"]
    assert written["dropped_dims"] == [found["bos"]["dim"]]
    assert f"the bos token (dimension {found['bos']['dim']})" in (out / "README.md").read_text("utf-8")
    assert written["query_threshold"] in (None, found["point"]["query_threshold"])
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert {path: path.stat().st_mtime_ns for path in handmade.rglob("*")} == before


def test_what_a_sweep_checks_is_what_it_prints_draws_and_saves(
    handmade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words of the terminal; what is measured is made up, with a point of its own for each side."""
    point = Point(0.02, 0.1, document_top_k=64)
    texts = replace(evaluation.bundled_questions(), graded=True)
    ranks = dict.fromkeys(texts.expected, 1)
    usual = row(0.05, ranks=ranks | {texts.expected[2]: 2}, query_sparsity=0.9911, document_sparsity=0.9977)
    report = replace(
        PASSED,
        point=point,
        best=point,
        tolerance=0.02,
        rows=(replace(ROW, ranks=ranks), usual),
        more_rows=(row(0.1, point=point, flops=0.25),),
        evaluation=texts,
    )
    asked: list[Request] = []
    monkeypatch.setattr(measure, "measure", lambda model, texts, request, progress: asked.append(request) or report)
    out, plot, options = tmp_path / "saved", tmp_path / "sweep.svg", ("--trust-remote-code", "--sweep")
    code, printed, err = run(
        capsys, "threshold", handmade, *options, "--tolerance", "0.02", "--plot", plot, "--save", out
    )
    assert code == 0, err
    assert asked[0].tolerance == 0.02 and asked[0].sweep and asked[0].point is None
    assert str(point) == "0.02 for queries, 0.1 and top 64 for documents"
    assert f"Recommended: {point}; of 2 points, it is the cheapest that loses at most 2.0%" in printed
    assert f"use {handmade} with a threshold of {point}." in printed
    assert f"no threshold  threshold {point}\n" in printed
    assert f"checked: {point}" in plot.read_text("utf-8")
    written = json.loads((out / "2_SparseThreshold" / "config.json").read_text())
    assert (written["query_threshold"], written["threshold"], written["document_top_k"]) == (0.02, 0.1, 64)
    assert f"threshold of **{point}**" in (out / "README.md").read_text("utf-8")
    assert "Relevance above 1 counts as 1" in printed
    shown = [line.split("  ") for line in printed.splitlines() if line.startswith("rank of the right document: ")]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in shown]
    assert cells[0][0].endswith("Hva er hovedstaden i Norge?") and [cell[1:3] for cell in cells] == [
        ["1", "1"],
        ["1", "1"],
        ["1", "2"],
    ]
    assert "99.11 %" in printed and ">= 99.1 %" in printed and "99.77 %" in printed and ">= 99.7 %" in printed


def test_a_threshold_in_the_code_is_measured_saved_and_verified(
    handmade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "load_all_questions", load_questions)  # the head was set for the others
    monkeypatch.setattr(texts_module, "_PROBE_TEXTS", few := tmp_path / "few.jsonl")
    few.write_text("".join(PROBES.read_text("utf-8").splitlines(keepends=True)[:3]), "utf-8")
    out = tmp_path / f"saved-{tmp_path.name}"
    options = ("--in-code", "--trust-remote-code", "--device", "cpu", "--json")
    code, printed, err = run(capsys, "threshold", handmade, *options, "--save", out)
    found = json.loads(printed)
    assert code == 0, err
    assert found["passed"] and found["in_code"] and found["verification"] is True and found["saved"] == str(out)
    assert not list(out.glob("*SparseThreshold")) and "SPLADE_LOGIT_SHIFT" in (out / CODE).read_text("utf-8")
    names = [one["name"] for one in json.loads((out / "report.json").read_text("utf-8"))["checks"]]
    assert "cap_lowered_exactly" in names
    code, _, err = run(capsys, "threshold", out, *options, "--save", tmp_path / "again")
    assert code == 2 and "needs no threshold: its cap is followed by a threshold" in err


@pytest.fixture
def texts(tmp_path: Path) -> tuple[str | Path, ...]:
    """Options that name a query and two documents of a user."""
    queries, documents = tmp_path / "queries.jsonl", tmp_path / "documents.jsonl"
    queries.write_text('{"id": 1, "text": "Hva er hovedstaden i Norge?"}\n')
    documents.write_text('{"id": 1, "text": "Oslo er hovedstaden."}\n{"id": 2, "text": "Bergen er en by."}\n')
    return "--queries", queries, "--documents", documents


def test_a_model_that_misses_the_limits_fails_with_exit_code_1_and_is_saved_by_force_alone(
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
    assert "was not written; --force" in out
    assert "Whether the weights fit their cap is not known" in out, "there are no judgements"
    assert not (tmp_path / "saved").exists()
    options = ("--query-threshold", "1.5", "--document-top-k", "9", "--save", tmp_path / "saved", "--force")
    code, out, err = run(capsys, "threshold", capped, *texts, "--trust-remote-code", "--device", "cpu", *options)
    assert code == 1, err
    assert f"Saved all the same: {tmp_path / 'saved'}" in out and "did not pass query_sparsity" in out
    written = json.loads((tmp_path / "saved" / "2_SparseThreshold" / "config.json").read_text())
    assert [written[key] for key in ("threshold", "query_threshold", "document_top_k")] == [0.05, 1.5, 9]


def test_a_model_trained_on_a_patched_base_needs_no_threshold(
    capped: Path, patched_once: Path, texts: tuple[str | Path, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copyfile(patched_once / CODE, capped / CODE)
    code, out, err = run(capsys, "threshold", capped, *texts, "--drop-bos")
    assert code == 2 and "patcher patch" in err and "--drop-bos" in err
    code, out, err = run(capsys, "threshold", capped, *texts, "--trust-remote-code", "--device", "cpu")
    assert code == 0, err
    assert "so the model needs no threshold" in out
    assert "SparseEncoder.sparsity()" in out
    assert "retrieval_preserved" not in out


@pytest.fixture
def judged(tmp_path: Path) -> tuple[str | Path, ...]:
    """Options that name some bundled questions as files of a user, and run a model on the CPU."""
    chosen = few_questions(20, among=20)
    files = [tmp_path / name for name in ("queries.jsonl", "documents.jsonl", "qrels.txt")]
    for path, texts in zip(files, (chosen.queries, chosen.documents), strict=False):
        path.write_text("".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in texts.items()))
    files[2].write_text("".join(f"{query} 0 {right} 1\n" for query, (right,) in chosen.relevant.items()))
    names = ("--queries", "--documents", "--qrels")
    return *(word for pair in zip(names, files, strict=True) for word in pair), *RUNS


def test_a_model_that_was_trained_without_its_cap_is_told_so_and_the_command_that_is_named_works(
    trained_uncapped_once: Path,
    judged: tuple[str | Path, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(texts_module, "_PROBE_TEXTS", few := tmp_path / "few.jsonl")
    few.write_text("".join(PROBES.read_text("utf-8").splitlines(keepends=True)[:3]), "utf-8")
    code, out, err = run(capsys, "threshold", trained_uncapped_once, *judged)
    assert code == 1, err
    assert "do NOT fit the cap" in out and "weights_fit_cap" in out
    command = next(line.split() for line in out.splitlines() if line.strip().startswith("patcher patch"))
    patched = tmp_path / f"patched-{tmp_path.name}"
    words = [str(patched) if word == "DIR" else word for word in command[1:]]
    code, out, err = run(capsys, *words, *RUNS)
    assert code == 0 and f"Verified: {patched} passed all" in out, out + err
    code, out, err = run(capsys, "threshold", patched, *judged)
    assert code == 0, err
    assert "so the model needs no threshold" in out and "do NOT fit" not in out


def test_a_trained_model_with_pickled_weights_is_repaired_as_the_hint_says_and_then_measured(
    trained_capped_once: Path, judged: tuple[str | Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = shutil.copytree(trained_capped_once, tmp_path / "pickled"), tmp_path / f"repaired-{tmp_path.name}"
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    code, _, err = run(capsys, "threshold", model, *judged)
    assert code == 3 and f"`patcher repair {model} --out DIR`" in err
    code, _, err = run(capsys, "repair", model, "--out", out, "--no-verify")
    assert code == 0, err
    code, printed, err = run(capsys, "threshold", out, *judged)
    assert code == 0 and "Passed all 6 checks" in printed, printed + err


def test_nothing_runs_without_a_yes(capped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "threshold", capped)
    assert (code, out) == (3, "")
    assert "--trust-remote-code" in err


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_a_threshold_that_is_none_is_wrong_usage(value: str, capped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "threshold", capped, "--trust-remote-code", "--threshold", value)
    assert code == 2
    assert "Use a number above 0" in err


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
    assert hint == "Hint: Leave out --device, or install a torch build that supports it."


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
