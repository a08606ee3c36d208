"""What can encode for a search: patched folders, trained models, those with a threshold, and nothing capped."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from patcher.errors import SourceError, UsageError
from patcher.planning.files import fingerprint
from patcher.retrieval.model import AsPublished, find_model
from patcher.source.snapshot import resolve
from patcher.threshold.repaired import RepairedModel, repair
from patcher.verify.requests import lay_out
from tests.conftest import MINI, listing_others
from tests.threshold.models import CODE


def test_a_patched_folder_is_taken_as_it_is(patched: Path, tmp_path: Path) -> None:
    model = find_model(str(patched), None, repair)
    assert isinstance(model, AsPublished)
    assert set(model.executed()) == {CODE, "configuration_gptbert.py"}
    target = tmp_path / "copy"
    lay_out(model.fetched().contents(), target)
    assert (target / "model.safetensors").resolve() == (patched / "model.safetensors").resolve()
    assert (target / CODE).read_bytes() == (patched / CODE).read_bytes()
    assert not (target / "patch.json").exists() and not (target / "README.md").exists()


def test_a_base_model_with_its_cap_is_sent_to_patch() -> None:
    with pytest.raises(UsageError, match="is a base model with its cap") as caught:
        find_model(str(MINI), None, repair)
    assert "patcher patch" in caught.value.hint


def test_a_trained_model_with_its_cap_is_sent_to_threshold(capped_once: Path) -> None:
    with pytest.raises(UsageError, match="still has its cap") as caught:
        find_model(str(capped_once), None, repair)
    assert "patcher threshold" in caught.value.hint


def test_a_model_trained_on_a_patched_base_is_repaired(capped: Path, patched_once: Path) -> None:
    shutil.copyfile(patched_once / CODE, capped / CODE)
    model = find_model(str(capped), None, repair)
    assert isinstance(model, RepairedModel) and not model.capped


def test_a_model_with_a_threshold_built_in_is_taken_as_it_is(capped: Path) -> None:
    modules = json.loads((capped / "modules.json").read_text())
    entry = {"idx": 2, "name": "2", "path": "2_SparseThreshold", "type": "sparse_threshold.SparseThreshold"}
    (capped / "modules.json").write_text(json.dumps([*modules, entry]))
    (capped / "2_SparseThreshold").mkdir()
    (capped / "2_SparseThreshold" / "config.json").write_text('{"threshold": 0.07}')
    assert isinstance(find_model(str(capped), None, repair), AsPublished)


def test_a_model_without_code_of_its_own_runs_nothing_of_its_own(patched: Path) -> None:
    config = json.loads((patched / "config.json").read_text())
    del config["auto_map"]
    (patched / "config.json").write_text(json.dumps(config))
    for path in patched.glob("*.py"):
        path.unlink()
    model = find_model(str(patched), None, repair)
    assert isinstance(model, AsPublished) and not model.executed()


def test_a_folder_without_a_configuration_or_weights_is_named(patched: Path) -> None:
    (patched / "model.safetensors").unlink()
    with pytest.raises(SourceError, match="has no weights: neither safetensors nor"):
        find_model(str(patched), None, repair).fetched()
    (patched / "config.json").unlink()
    with pytest.raises(SourceError, match=r"has no config\.json"):
        find_model(str(patched), None, repair)


def test_weights_that_are_not_those_that_the_hub_lists_are_refused(patched: Path) -> None:
    model = AsPublished(resolve(str(patched)))
    with pytest.raises(SourceError, match=r"model\.safetensors of .* is not the file that the Hub lists"):
        replace(model, snapshot=listing_others(patched)).fetched()
    assert model.fetched().snapshot.root == patched


def test_a_fingerprint_changes_with_any_file_that_matters_and_with_no_other(patched: Path) -> None:
    before = fingerprint(resolve(str(patched)))
    (patched / "README.md").write_text("other words")
    assert fingerprint(resolve(str(patched))) == before
    with (patched / "tokenizer.json").open("a") as file:
        file.write(" ")
    assert fingerprint(resolve(str(patched))) != before


ROUTER = {
    "modules.json": [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.router.Router"}],
    "router_config.json": {
        "types": {
            "query_0_SparseStaticEmbedding": "sentence_transformers.sparse_encoder.modules.SparseStaticEmbedding",
            "document_0_Transformer": "sentence_transformers.base.modules.transformer.Transformer",
            "document_1_SpladePooling": "sentence_transformers.sparse_encoder.modules.SpladePooling",
        },
        "structure": {
            "query": ["query_0_SparseStaticEmbedding"],
            "document": ["document_0_Transformer", "document_1_SpladePooling"],
        },
    },
}


def test_the_weights_of_a_model_without_code_may_all_be_in_folders_of_its_modules(tmp_path: Path) -> None:
    for name, content in ROUTER.items():
        (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(SourceError, match="has no weights"):
        find_model(str(tmp_path), None, repair).fetched()
    weights = tmp_path / "document_0_Transformer" / "model.safetensors"
    weights.parent.mkdir()
    shutil.copyfile(MINI / "model.safetensors", weights)
    assert find_model(str(tmp_path), None, repair).fetched().files == (
        "document_0_Transformer/model.safetensors",
        *ROUTER,
    )
