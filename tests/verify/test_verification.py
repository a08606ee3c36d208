"""The verification passes the patched miniature and catches each way in which a patch can be wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from patcher.errors import OutputError
from patcher.patching.record import load
from patcher.source.snapshot import sha256_of
from patcher.verify.requests import base_code
from tests.conftest import MINI
from tests.verify.running import CHECKS, failed, report_on, wanted

CAP = "subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)"


def edit(folder: Path, old: str, new: str, count: int = -1) -> None:
    path = folder / "modeling_gptbert.py"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, count), "utf-8")


def alter(folder: Path, name: str, value: float) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors[name].view(-1)[7] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_the_patched_miniature_passes_every_check(patched: Path, tmp_path: Path) -> None:
    report = report_on(patched, tmp_path / "scratch")
    assert [check.name for check in report.checks] == CHECKS
    assert report.passed, failed(report)
    values = {check.name: check.value for check in report.checks}
    assert values["cap_removed_exactly"] <= 1e-5
    assert report.base["logit_sparsity"] == 0.0
    assert report.base["min"] > 0 and report.base["max"] < 30
    assert report.patched["logit_sparsity"] > 0.98
    assert report.patched["max"] > 0, "a head without any positive logit would be sparse and useless"


def test_the_code_as_published_fails_on_transformers_5(patched: Path, tmp_path: Path) -> None:
    """Not even the first line of a forward pass is reached: config.is_decoder is gone."""
    shutil.copy(MINI / "modeling_gptbert.py", patched / "modeling_gptbert.py")
    report = report_on(patched, tmp_path / "scratch")
    assert failed(report) == set(CHECKS)
    assert "is_decoder" in report.checks[0].detail


def test_rotary_tables_as_published_are_found_wrong(patched: Path, tmp_path: Path) -> None:
    shutil.copy(MINI / "modeling_gptbert.py", patched / "modeling_gptbert.py")
    edit(patched, "config.is_decoder\n", "False\n")
    report = report_on(patched, tmp_path / "scratch")
    assert failed(report) == set(CHECKS)  # logits of NaN prove nothing
    assert report.checks[1].name == "buffers_rebuilt" and report.checks[1].value == 8, report.checks[1]


@pytest.mark.parametrize(
    "cap", ["15 * torch.sigmoid(subword_prediction / 7.5)", "30 * torch.sigmoid(subword_prediction / 5)"]
)
def test_a_cap_that_is_changed_and_not_removed_is_caught(patched: Path, tmp_path: Path, cap: str) -> None:
    shutil.copy(MINI / "modeling_gptbert.py", patched / "modeling_gptbert.py")
    (patched / "modeling_gptbert.py").write_bytes(base_code(load(patched))["modeling_gptbert.py"])
    edit(patched, CAP, f"subword_prediction = {cap}")
    report = report_on(patched, tmp_path / "scratch")
    assert {"cap_removed_exactly", "negative_logits", "relu_sparsity"} <= failed(report)


@pytest.mark.parametrize("wrong", [{"scale": 29.99}, {"temperature": 7.501}])
def test_a_record_with_another_scale_or_temperature_is_caught(
    patched: Path, tmp_path: Path, wrong: dict[str, float]
) -> None:
    model = load(patched)
    report = report_on(patched, tmp_path / "scratch", replace(model, soft_cap=replace(model.soft_cap, **wrong)))
    assert failed(report) == {"cap_removed_exactly"}


def test_a_cap_removed_in_the_wrong_class_is_caught(patched: Path, tmp_path: Path) -> None:
    (patched / "modeling_gptbert.py").write_bytes(base_code(load(patched))["modeling_gptbert.py"])
    masked, causal = (patched / "modeling_gptbert.py").read_text("utf-8").split("class GptBertForCausalLM", 1)
    assert CAP in masked and CAP in causal
    text = masked + "class GptBertForCausalLM" + causal.replace(f"        {CAP}\n", "")
    (patched / "modeling_gptbert.py").write_text(text, "utf-8")
    report = report_on(patched, tmp_path / "scratch")
    assert {"cap_removed_exactly", "negative_logits", "relu_sparsity"} <= failed(report)


def test_one_altered_weight_is_caught_by_its_hash_its_value_and_the_logits(patched: Path, tmp_path: Path) -> None:
    alter(patched, "classifier.projection.weight", 0.75)
    report = report_on(patched, tmp_path / "scratch")
    assert {"weights_unchanged", "cap_removed_exactly"} <= failed(report)
    assert "classifier.projection.weight" in report.checks[0].detail


def test_a_weight_that_the_code_alters_on_loading_is_caught(patched: Path, tmp_path: Path) -> None:
    """The file is right and the model in memory is not."""
    alteration = "    def tie_weights(self, *args, **kwargs):\n        self.classifier.emb2vocab.bias.data[7] += 9\n"
    edit(patched, "class GptBertForMaskedLM(GptBertModel):\n", f"class GptBertForMaskedLM(GptBertModel):\n{alteration}")
    report = report_on(patched, tmp_path / "scratch")
    assert {"weights_unchanged", "cap_removed_exactly"} <= failed(report)


def test_a_forward_pass_that_writes_into_the_shared_weights_is_caught(patched: Path, tmp_path: Path) -> None:
    """The base holds the same memory, so its logits alone could not show it."""
    edit(
        patched, "        # splade-patcher: removed", "        self.classifier.emb2vocab.bias.data[7] += 1\n        # "
    )
    report = report_on(patched, tmp_path / "scratch")
    assert "weights_unchanged" in failed(report)
    assert "classifier.emb2vocab.bias" in report.checks[0].detail


def test_a_logit_that_is_not_finite_fails_every_check(patched: Path, tmp_path: Path) -> None:
    alter(patched, "classifier.emb2vocab.bias", float("nan"))
    report = report_on(patched, tmp_path / "scratch")
    assert failed(report) == set(CHECKS)
    assert all("not finite" in check.detail for check in report.checks)
    report.write(patched)  # null, not NaN: the report stays valid JSON
    assert json.loads((patched / "report.json").read_text())["passed"] is False


def test_the_base_model_of_the_proof_runs_the_published_constructor(patched: Path) -> None:
    """Only the repairs may tell it from the published code; the cap has to be in it."""
    text = base_code(load(patched))["modeling_gptbert.py"].decode()
    assert text.count(CAP) == 2
    assert "_init_arguments" in text and "_tied_weights_keys = None" in text


def test_a_record_without_the_code_of_the_base_model_is_told(patched: Path) -> None:
    record = json.loads((patched / "patch.json").read_text())
    del record["base"]
    record["options"]["also_signed"] = False
    (patched / "patch.json").write_text(json.dumps(record))
    with pytest.raises(OutputError, match="earlier version") as caught:
        base_code(load(patched))
    assert "patcher patch" in caught.value.hint


def test_weights_are_shared_and_not_loaded_twice(patched: Path, tmp_path: Path) -> None:
    from patcher.verify.measure.models import fresh_model, load_as_users_do, share_weights
    from patcher.verify.requests import prepare

    request = prepare(load(patched), tmp_path / "scratch", wanted("a"), "cpu")
    model, _ = load_as_users_do(request.patched)
    base = share_weights(fresh_model(request.base.folder), model, request.encoders[0].weights)
    places = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    assert {name: tensor.data_ptr() for name, tensor in base.state_dict().items()} == places
    assert not any(parameter.is_meta for parameter in (*base.parameters(), *base.buffers()))


def test_input_and_output_matrices_stay_two(patched: Path) -> None:
    from patcher.verify.measure.models import load_as_users_do

    model, _ = load_as_users_do(str(patched))
    assert not torch.equal(model.classifier.emb2vocab.weight, model.embedding.word_embedding.weight)


def test_the_report_says_which_bytes_it_is_about(patched: Path, tmp_path: Path) -> None:
    report = report_on(patched, tmp_path / "scratch")
    assert report.files["model.safetensors"] == sha256_of(MINI / "model.safetensors")
    assert report.files["modeling_gptbert.py"] == sha256_of(patched / "modeling_gptbert.py")
    assert "patch.json" in report.files and "README.md" not in report.files
