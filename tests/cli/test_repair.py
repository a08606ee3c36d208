"""`patcher repair` on what people make of NorBERT4: it loads, computes what it should, and keeps every file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from patcher.cli import main
from patcher.hashing import sha256_of
from patcher.patching.record import load
from patcher.planning.options import Options
from patcher.verify.checks import judge_single
from patcher.verify.messages import EncoderLoaded
from tests.conftest import Run
from tests.finetuned import (
    DENSE,
    write_causal,
    write_classifier,
    write_dense,
    write_pretraining,
    write_sparse_autoencoder,
)
from tests.planning.folders import configure
from tests.verify.made_up import KEPT_CAP
from tests.verify.running import failed, repaired, report_on

CODE = "modeling_gptbert.py"
TASKS = ("SequenceClassification", "TokenClassification", "QuestionAnswering", "MultipleChoice")
NAMES = {"weights_unchanged", "buffers_rebuilt", "outputs_finite", "modes_agree", "files_unchanged"}


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    return write_dense(tmp_path / f"dense-{tmp_path.name}")


def hashes(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


def test_a_dense_model_keeps_everything_but_its_code(dense: Path, tmp_path: Path, cli: Run) -> None:
    """One real run through the sandboxed child, as a user sees it."""
    out = tmp_path / f"out-{tmp_path.name}"
    done = cli("repair", dense, "--out", out, "--trust-remote-code", "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {check["name"] for check in result["report"]["checks"]} >= NAMES
    assert result["plan"]["auto_class"] == "AutoModel" and result["report"]["passed"] is True
    before, after = hashes(dense), hashes(out)
    assert {name for name in before if after.get(name) != before[name]} - {"README.md", "model.onnx"} == {
        CODE,
        "config.json",
        "configuration_gptbert.py",
    }
    assert {*DENSE, "model.safetensors"} <= set(after)
    card, page = (out / "README.md").read_text("utf-8"), (out / "report.html").read_text("utf-8")
    assert "pipeline_tag: sentence-similarity" in card and "SentenceTransformer(" in card and "splade" not in card[:300]
    assert "SPLADE" not in page and "its cap kept" not in page and "outputs_finite" in page
    again = cli("repair", out, "--out", tmp_path / "again")
    assert again.returncode == 0 and "Nothing to do" in again.stdout


@pytest.mark.parametrize("task", TASKS)
def test_any_head_is_loaded_by_its_own_class_and_runs(tmp_path: Path, task: str) -> None:
    folder = write_classifier(tmp_path / "model", task, {"QuestionAnswering": 2, "MultipleChoice": 1}.get(task, 8))
    out = repaired(folder, tmp_path / f"out-{tmp_path.name}")
    report = report_on(out, tmp_path / "scratch")
    assert load(out).auto_class == f"AutoModelFor{task}"
    assert {check.name for check in report.checks} >= NAMES and report.passed, report.checks
    modes = {mode.name: mode.passed for mode in report.modes}
    assert modes["labels"] and modes["train_with_labels"] and modes["left_padding"] and modes["saved_and_loaded"]
    assert report.base == report.patched == {}, "figures of logits say nothing about it"
    card = (out / "README.md").read_text("utf-8")
    assert f"AutoModelFor{task}.from_pretrained" in card and "AutoModelForMaskedLM.from_pretrained" not in card
    assert "cap is kept" not in card and "fill-mask" not in card


@pytest.mark.parametrize(
    ("task", "write"), [("CausalLM", write_causal), ("PreTraining", write_pretraining)], ids=["causal", "pre-training"]
)
def test_a_head_over_the_vocabulary_that_is_no_masked_lm_keeps_its_cap_and_runs(
    tmp_path: Path, task: str, write: Callable[[Path], Path]
) -> None:
    out = repaired(write(tmp_path / "model"), tmp_path / f"out-{tmp_path.name}")
    report = report_on(out, tmp_path / "scratch")
    assert load(out).auto_class == f"AutoModelFor{task}"
    assert report.passed, report.checks
    modes = {mode.name: mode.passed for mode in report.modes}
    assert modes["labels"] and modes["train_with_labels"] and modes["left_padding"] and modes["saved_and_loaded"]
    assert f"AutoModelFor{task}.from_pretrained" in (out / "README.md").read_text("utf-8")
    code = (out / CODE).read_text("utf-8")
    assert code.count("30 * torch.sigmoid(subword_prediction / 7.5)") == 2, "the cap of neither class is removed"


@pytest.mark.parametrize("architectures", [None, "GptBertForSequenceClassification", ["GptBertForMaskedLM"]])
def test_a_head_that_the_named_class_does_not_have_is_said_to_be_unused(tmp_path: Path, architectures: object) -> None:
    folder = write_classifier(tmp_path / "model")
    configure(folder, architectures=architectures)
    report = report_on(repaired(folder, tmp_path / f"out-{tmp_path.name}"), tmp_path / "scratch")
    assert failed(report) == {"weights_unchanged"}
    detail = report.failed[0].detail
    assert "differ from the source or that AutoModel does not use, of " in detail and "head.emb2labels.bias" in detail
    assert detail.endswith("; does architectures in config.json name the right class?")


SCALE = "encoder.layers.0.mlp.up_proj.scale"


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        ({SCALE: None}, {"weights_unchanged", "outputs_finite", "modes_agree"}),  # left uninitialised
        ({"pooler.weight": torch.ones(80)}, {"weights_unchanged"}),
        ({SCALE: torch.full((80,), torch.inf)}, {"outputs_finite", "modes_agree"}),
    ],
)
def test_a_checkpoint_that_is_not_that_of_its_class_fails(
    dense: Path, tmp_path: Path, change: dict[str, torch.Tensor | None], fails: set[str]
) -> None:
    tensors = {**load_file(dense / "model.safetensors"), **change}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, dense / "model.safetensors", metadata={"format": "pt"})
    report = report_on(repaired(dense, tmp_path / f"out-{tmp_path.name}"), tmp_path / "scratch")
    assert failed(report) == fails, report.checks


def test_tables_that_were_not_filled_fail(dense: Path, tmp_path: Path) -> None:
    """The published code with nothing but the first obstacle out of its way."""
    out = repaired(dense, tmp_path / f"out-{tmp_path.name}", Options.choose(["config_defaults", "tied_weights"]))
    report = report_on(out, tmp_path / "scratch")
    assert failed(report) == {"buffers_rebuilt", "outputs_finite", "modes_agree"}


def test_a_reference_is_for_a_run_on_the_cpu_in_full_precision(
    dense: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags in (["--device", "cuda"], ["--dtype", "bfloat16"], ["--device", "mps,cpu"], ["--no-verify"]):
        command = ["repair", str(dense), "--out", str(tmp_path / "out"), "--reference", "python", *flags]
        assert main(command) == 2
        assert "--reference" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_dense_model_in_a_folder_of_its_own_loads_with_sentence_transformers(dense: Path, tmp_path: Path) -> None:
    """As older versions of sentence-transformers save it; transformers looks for its code in the model's own folder."""
    sub = dense / "0_Transformer"
    sub.mkdir()
    for path in [path for path in dense.iterdir() if path.is_file() and path.name not in DENSE]:
        path.rename(sub / path.name)
    modules = json.loads((dense / "modules.json").read_text())
    modules[0]["path"] = sub.name
    (dense / "modules.json").write_text(json.dumps(modules))
    (dense / "sentence_bert_config.json").rename(sub / "sentence_bert_config.json")
    out = repaired(dense, tmp_path / f"out-{tmp_path.name}")
    assert load(out).encoders == (sub.name,) and load(out).loaded_by == "SentenceTransformer"
    assert (out / CODE).read_bytes() == (out / sub.name / CODE).read_bytes() != (dense / sub.name / CODE).read_bytes()
    report = report_on(out, tmp_path / "scratch", sparse_encoder=True)
    assert report.passed, report.checks
    assert "sentence_transformer_loads" in {check.name for check in report.checks}


def test_a_sparse_model_without_splade_pooling_is_loaded_by_the_class_that_saved_it(tmp_path: Path) -> None:
    """SentenceTransformer would load it, too, without its autoencoder."""
    out = repaired(write_sparse_autoencoder(tmp_path / "sparse"), tmp_path / f"out-{tmp_path.name}")
    report = report_on(out, tmp_path / "scratch", sparse_encoder=True)
    assert report.passed and "sparse_encoder_loads" in {check.name for check in report.checks}, report.checks
    card = (out / "README.md").read_text("utf-8")
    assert "model = SparseEncoder(" in card and "tokenizer.decode" not in card and "splade" not in card[:300]
    assert load(out).loaded_by == "SparseEncoder" and not load(out).is_trained_splade


@pytest.mark.parametrize(
    ("model_type", "loaded_by"),
    [
        (None, "SentenceTransformer"),
        ("SentenceTransformer", "SentenceTransformer"),
        ("SparseEncoder", "SparseEncoder"),
        ("MultiVectorEncoder", "AutoModel"),
    ],
)
def test_the_class_is_the_one_that_sentence_transformers_looks_up(
    dense: Path, tmp_path: Path, model_type: str | None, loaded_by: str
) -> None:
    path = dense / "config_sentence_transformers.json"
    path.write_text(json.dumps({"model_type": model_type} if model_type else {}))
    assert load(repaired(dense, tmp_path / "out")).loaded_by == loaded_by


def test_modules_that_are_not_those_of_modules_json_fail(tmp_path: Path) -> None:
    """Without its class in a file, SparseEncoder adds an autoencoder with random weights to the model's own."""
    sparse = write_sparse_autoencoder(tmp_path / "sparse")
    (sparse / "config_sentence_transformers.json").unlink()
    report = report_on(repaired(sparse, tmp_path / f"out-{tmp_path.name}"), tmp_path / "scratch", sparse_encoder=True)
    assert failed(report) == {"sparse_encoder_loads"}
    detail = report.failed[0].detail
    assert "SparseAutoEncoder, SparseAutoEncoder, NOT the modules of modules.json" in detail


@pytest.mark.parametrize("not_finite", [0, 3])
def test_embeddings_that_are_not_finite_fail(not_finite: int) -> None:
    measured = replace(KEPT_CAP, sparse_encoder=EncoderLoaded("6", False, not_finite, "SentenceTransformer"))
    (check,) = [one for one in judge_single(measured, (), (), "AutoModel") if one.name == "sentence_transformer_loads"]
    assert check.passed is (not_finite == 0)
