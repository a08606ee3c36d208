"""The class that weights are for is read from config.json, and corrected by the tensors where these are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from patcher.errors import SourceError
from patcher.planning.auto_class import CAUSAL, MASKED, MODEL, find_auto_class, read_shapes
from patcher.planning.options import Options
from patcher.planning.plan import make_plan
from patcher.source.snapshot import resolve
from tests.conftest import MINI
from tests.finetuned import write_classifier, write_dense
from tests.planning.folders import configure, plan_of, refusal

TAGGER = "AutoModelForTokenClassification"
CODE = {"modeling_gptbert.py": (MINI / "modeling_gptbert.py").read_bytes()}
CONFIG = json.loads((MINI / "config.json").read_text("utf-8"))
WITH_HEAD = {"embedding.word_embedding.weight": [8192, 80], "classifier.emb2vocab.weight": [8192, 80]}
WITHOUT = {"embedding.word_embedding.weight": [8192, 80], "encoder.layers.0.scale": [80]}


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"architectures": ["Y"], "auto_map": {MASKED: "x.Y", "AutoModelForPreTraining": "x.Y"}}, MASKED),
        ({"architectures": ["YModel"], "auto_map": {MASKED: "x.YForMaskedLM", MODEL: "x.YModel"}}, MODEL),
        ({"architectures": ["YModel"], "auto_map": {MODEL: "other/repo--x.YModel"}}, MODEL),
        ({"architectures": ["YForTokenClassification"], "auto_map": {}}, TAGGER),
        ({"architectures": ["Odd"], "auto_map": {TAGGER: "x.Odd"}}, TAGGER),
        ({"architectures": ["YForCausalLM"]}, CAUSAL),
        ({"auto_map": {CAUSAL: "x.YForCausalLM"}}, CAUSAL),
        ({"auto_map": {CAUSAL: "x.YForCausalLM", MASKED: "x.YForMaskedLM"}}, MASKED),
        ({"architectures": "YModel", "auto_map": ["x"]}, MASKED),
        ({}, MASKED),
    ],
)
def test_config_json_names_the_class(config: dict[str, Any], found: str) -> None:
    assert find_auto_class(config) == found


@pytest.mark.parametrize(
    ("architecture", "shapes", "found"),
    [
        ("GptBertModel", WITHOUT, MODEL),
        ("GptBertModel", WITH_HEAD, MASKED),
        ("GptBertForMaskedLM", WITH_HEAD, MASKED),
        ("GptBertForMaskedLM", WITHOUT, MODEL),
        # A head whose matrix is that of the embedding, and that has no bias.
        ("GptBertForMaskedLM", {**WITHOUT, "classifier.projection.weight": [80, 80]}, MASKED),
        ("GptBertForSequenceClassification", WITH_HEAD, "AutoModelForSequenceClassification"),
    ],
)
def test_the_tensors_overrule_it(architecture: str, shapes: dict[str, list[int]], found: str) -> None:
    assert find_auto_class({**CONFIG, "architectures": [architecture]}, shapes, CODE) == found


def test_shapes_are_read_from_headers_and_unknown_without_the_weights(mini: Path) -> None:
    tensors = load_file(mini / "model.safetensors")
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    snapshot = resolve(str(mini))
    assert read_shapes(snapshot, ["model.safetensors"]) == shapes
    (mini / "model.safetensors").write_bytes(b"\xff" * 20)
    assert read_shapes(snapshot, ["model.safetensors"]) == read_shapes(snapshot, ["pytorch_model.bin"]) == {}


@pytest.mark.parametrize("write", [write_dense, write_classifier])
def test_the_cap_of_a_head_without_weights_is_not_removed(tmp_path: Path, write: Any) -> None:
    folder = write(tmp_path / "model")
    error = refusal(folder, SourceError)
    assert "hold no vocabulary head" in error.message and f"`patcher repair {folder} --out DIR`" in error.hint


def test_a_config_that_promises_a_head_is_not_believed(mini: Path) -> None:
    tensors = load_file(mini / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier.")}
    save_file(kept, mini / "model.safetensors", metadata={"format": "pt"})
    for change in ({}, {"architectures": None}):
        configure(mini, **change)
        assert "hold no vocabulary head" in refusal(mini, SourceError).message
    configure(mini, architectures=["GptBertForMaskedLM"])
    (mini / "model.safetensors").unlink()
    assert plan_of(mini).soft_cap is not None, "nothing is known of weights that are not here"


@pytest.mark.parametrize("task", ["SequenceClassification", "TokenClassification", "QuestionAnswering"])
def test_any_class_of_the_code_is_repaired(tmp_path: Path, task: str) -> None:
    plan = make_plan(resolve(str(write_classifier(tmp_path / "model", task))), Options.choose(["repairs"]))
    assert plan.auto_class == f"AutoModelFor{task}" and plan.kept_cap is None and plan.soft_cap is None
    applied = {result.name for result in plan.codemods if result.status == "applied"}
    assert applied == {"computed_buffers", "tied_weights", "config_defaults"}


def test_classes_of_another_repository_do_not_stop_the_repair_of_this_one(tmp_path: Path) -> None:
    folder = write_dense(tmp_path / "model")
    assert make_plan(resolve(str(folder)), Options.choose(["repairs"])).auto_class == MODEL
    configure(folder, auto_map={MODEL: "ltg/norbert4-base--modeling_gptbert.GptBertModel"})
    with pytest.raises(SourceError, match="another repository"):
        make_plan(resolve(str(folder)), Options.choose(["repairs"]))
