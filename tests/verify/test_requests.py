"""What a child reads: the base model's code, and folders with links to the weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import OutputError
from patcher.patching.record import FileRecord, load
from patcher.verify.requests import base_code, max_tokens, prepare, readable
from tests.verify.running import CAP, wanted


def test_the_base_model_of_the_proof_runs_the_published_constructor(patched: Path) -> None:
    """Only the repairs may tell it from the published code; the cap has to be in it."""
    text = base_code(load(patched))["modeling_gptbert.py"].decode()
    assert text.count(CAP) == 2
    assert "(ComputedBuffersMixin, PreTrainedModel)" in text and "_tied_weights_keys = None" in text


def test_a_record_without_the_code_of_the_base_model_is_told(patched: Path) -> None:
    record = json.loads((patched / "patch.json").read_text())
    del record["base"]
    record["options"]["also_signed"] = False
    (patched / "patch.json").write_text(json.dumps(record))
    with pytest.raises(OutputError, match="earlier version") as caught:
        base_code(load(patched))
    assert "patcher patch" in caught.value.hint


def test_the_base_model_is_laid_out_with_its_code_and_links_to_the_weights(patched_once: Path, tmp_path: Path) -> None:
    request = prepare(load(patched_once), tmp_path / "scratch", wanted("Ein", "To"), "cpu")
    assert request.base is not None
    folder = Path(request.base.folder)
    assert CAP in (folder / "modeling_gptbert.py").read_text("utf-8")
    assert (folder / "model.safetensors").resolve() == (patched_once / "model.safetensors").resolve()
    assert [json.loads(line)["text"] for line in Path(request.texts).read_text("utf-8").splitlines()] == ["Ein", "To"]
    assert request.count == 2 and request.vocabulary == 8192


def test_a_link_is_followed_to_the_weights_that_the_record_describes_and_to_nothing_else(
    patched: Path, tmp_path: Path
) -> None:
    model, own = load(patched), patched / "model.safetensors"
    weights, other = tmp_path / "weights.safetensors", tmp_path / "blob"
    own.rename(weights)
    own.symlink_to(weights)
    assert readable(model) == [patched, weights], "a child that is confined may read it"
    weights.rename(other)
    own.unlink()
    own.symlink_to(other)
    assert readable(model) == [patched], "it is not called like weights"
    other.rename(weights)
    weights.write_bytes(b"mine")
    own.unlink()
    own.symlink_to(weights)
    assert readable(model) == [patched], "somebody's private file"


@pytest.mark.parametrize(
    ("change", "pooled"),
    [
        ({}, True),
        ({"soft_cap": None}, True),
        ({"soft_cap": None, "names": ["GptBertModel"]}, False),
        ({"soft_cap": None, "dense": True}, False),
        ({"soft_cap": None, "dense": True, "encoders": ("",)}, True),
    ],
)
def test_sparse_encoder_is_only_asked_about_models_whose_logits_it_pools(
    patched: Path, tmp_path: Path, change: dict[str, Any], pooled: bool
) -> None:
    model = load(patched)
    names, dense = change.pop("names", ["GptBertForMaskedLM"]), change.pop("dense", False)
    (patched / "config.json").write_text(json.dumps({"architectures": names}))
    files = (*model.files, *([FileRecord("modules.json", "copied", "a", "a", 1)] if dense else ()))
    model = replace(model, files=files, **change)
    assert prepare(model, tmp_path / "scratch", wanted(sparse_encoder=True), "cpu").sparse_encoder is pooled
    assert not prepare(model, tmp_path / "other", wanted(), "cpu").sparse_encoder


def test_only_the_first_of_several_devices_writes_its_logits(patched_once: Path, tmp_path: Path) -> None:
    model, asked = load(patched_once), wanted(devices=("cpu", "cuda"))
    first = prepare(model, tmp_path / "0", asked, "cpu")
    assert (first.digest, first.reference) == (str(tmp_path / "0" / "digest"), None)
    second = prepare(model, tmp_path / "1", asked, "cuda", tmp_path / "0" / "digest")
    assert (second.digest, second.reference) == (None, first.digest)
    alone = prepare(model, tmp_path / "2", wanted(), "cpu")
    assert (alone.digest, alone.reference) == (None, None)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max_sequence_length": 1024}, 520),
        ({"max_position_embeddings": 520, "n_positions": 2048}, 520),
        ({"max_sequence_length": 1024, "max_position_embeddings": 514}, 512),
        ({}, 512),
    ],
)
def test_texts_go_beyond_512_tokens_where_the_configuration_allows_it(
    patched: Path, limits: dict[str, int], expected: int
) -> None:
    (patched / "config.json").write_text(json.dumps(limits))
    assert max_tokens(load(patched)) == expected


def test_a_large_vocabulary_makes_batches_smaller(patched: Path, tmp_path: Path) -> None:
    config = json.loads((patched / "config.json").read_text())
    (patched / "config.json").write_text(json.dumps(config | {"vocab_size": 262_144}))
    assert prepare(load(patched), tmp_path / "scratch", wanted(), "cpu").max_batch_tokens == 200
