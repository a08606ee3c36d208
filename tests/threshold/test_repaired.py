"""Where the parts of a trained model lie, where its code comes from, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import CodeError, HubUnreachable, SourceError, UsageError
from patcher.source.snapshot import resolve
from patcher.threshold.repaired import RepairedModel, repair
from patcher.verify.requests import lay_out
from tests.conftest import COMMIT, MINI, listing_others
from tests.threshold.models import CODE


def of(folder: Path) -> RepairedModel:
    return repair(resolve(str(folder)))


def edit(path: Path, **changes: Any) -> None:
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | changes))


def point_elsewhere(folder: Path) -> None:
    """Let auto_map name another repository, as `save_pretrained` writes it for a model trained from the Hub."""
    config = json.loads((folder / "config.json").read_text())
    edit(folder / "config.json", auto_map={k: f"ltg/norbert4-base--{v}" for k, v in config["auto_map"].items()})


def test_the_code_is_repaired_and_keeps_its_cap(capped: Path) -> None:
    model = of(capped)
    assert b"30 * torch.sigmoid(subword_prediction / 7.5)" in model.code[CODE]
    assert model.code[CODE] != model.originals[CODE] == (MINI / CODE).read_bytes()
    assert model.capped
    assert (model.soft_cap.scale, model.soft_cap.temperature) == (30, 7.5)


def test_weights_are_linked_and_code_is_not(capped: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    target.mkdir()
    lay_out(of(capped).contents(), target)
    assert (target / "model.safetensors").is_symlink()
    assert (target / "model.safetensors").read_bytes() == (capped / "model.safetensors").read_bytes()
    assert not (target / CODE).is_symlink()
    assert (capped / CODE).read_bytes() == (MINI / CODE).read_bytes()


def test_weights_that_are_not_those_that_the_hub_lists_are_refused(capped: Path) -> None:
    model = of(capped)
    with pytest.raises(SourceError, match=r"model\.safetensors of .* is not the file that the Hub lists"):
        replace(model, snapshot=listing_others(capped)).fetched()
    assert model.fetched().snapshot.root == capped


def test_pickles_exports_and_training_checkpoints_stay_behind(capped: Path) -> None:
    for name in ("pytorch_model.bin", "onnx/model.onnx", "checkpoint-500/model.safetensors", "training_args.bin"):
        (capped / name).parent.mkdir(exist_ok=True)
        (capped / name).write_bytes(b"\x80")
    files = of(capped).layout.files
    assert "model.safetensors" in files
    assert "1_SpladePooling/config.json" in files
    assert not [path for path in files if path.endswith((".bin", ".onnx")) or path.startswith("checkpoint")]


def test_code_beside_the_config_wins_over_the_repository_that_auto_map_names(capped: Path, tmp_path: Path) -> None:
    point_elsewhere(capped)
    model = of(capped)
    assert model.code_source.folder == capped.resolve()
    target = tmp_path / "copy"
    target.mkdir()
    lay_out(model.contents(), target)
    written = json.loads((target / "config.json").read_text())
    assert written["auto_map"]["AutoModelForMaskedLM"] == "modeling_gptbert.GptBertForMaskedLM"
    assert "--" in json.loads((capped / "config.json").read_text())["auto_map"]["AutoModelForMaskedLM"]


def test_code_that_is_not_in_the_folder_comes_from_the_repository_that_auto_map_names(
    capped: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub_cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    point_elsewhere(capped)
    for path in capped.glob("*.py"):
        path.unlink()
    model = of(capped)
    assert (model.code_source.repo_id, model.code_source.revision) == ("ltg/norbert4-base", COMMIT)
    assert model.originals[CODE] == (MINI / CODE).read_bytes()
    assert set(model.executed()) == set(model.originals)


def test_a_repository_that_can_not_be_reached_is_named(capped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(capped / "empty"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    point_elsewhere(capped)
    (capped / CODE).unlink()
    with pytest.raises(HubUnreachable, match="ltg/norbert4-base"):
        of(capped)


def test_code_that_is_nowhere_is_named(capped: Path) -> None:
    (capped / CODE).unlink()
    with pytest.raises(SourceError, match=rf"has no .*{CODE}.*no other repository"):
        of(capped)


def test_a_transformer_in_a_folder_of_its_own_is_found_and_its_code_put_where_it_is_looked_for(
    capped: Path, tmp_path: Path
) -> None:
    inner = capped / "0_MLMTransformer"
    inner.mkdir()
    for name in ("config.json", "model.safetensors", "sentence_bert_config.json", "tokenizer.json", CODE):
        shutil.move(capped / name, inner / name)
    shutil.move(capped / "configuration_gptbert.py", inner / "configuration_gptbert.py")
    modules = json.loads((capped / "modules.json").read_text())
    modules[0] |= {"path": inner.name, "type": "sentence_transformers.sparse_encoder.models.MLMTransformer"}
    (capped / "modules.json").write_text(json.dumps(modules))
    model = of(capped)
    assert model.layout.encoders == ("0_MLMTransformer",)
    target = tmp_path / "copy"
    target.mkdir()
    lay_out(model.contents(), target)
    assert (target / CODE).read_bytes() == (target / inner.name / CODE).read_bytes() == model.code[CODE]


def test_a_model_whose_cap_was_removed_is_recognised(capped: Path, patched_once: Path) -> None:
    shutil.copyfile(patched_once / CODE, capped / CODE)
    assert not of(capped).capped


def test_a_base_model_is_sent_to_patch() -> None:
    with pytest.raises(SourceError, match=r"has no modules\.json") as caught:
        of(MINI)
    assert "patcher patch" in caught.value.hint


def test_a_model_without_splade_pooling_is_refused(capped: Path) -> None:
    modules = json.loads((capped / "modules.json").read_text())
    modules[1]["type"] = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
    (capped / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(SourceError, match="has no SpladePooling"):
        of(capped)


def test_a_model_without_remote_code_is_refused(capped: Path) -> None:
    edit(capped / "config.json", auto_map={})
    with pytest.raises(SourceError, match="no masked LM that comes with its own code"):
        of(capped)


def test_a_head_without_a_cap_that_nobody_marked_is_refused(capped: Path) -> None:
    code = (capped / CODE).read_text().replace("30 * torch.sigmoid(subword_prediction / 7.5)", "subword_prediction")
    (capped / CODE).write_text(code)
    with pytest.raises(CodeError, match="has no soft cap") as caught:
        of(capped)
    assert f"`patcher repair {capped} --out DIR`" in caught.value.hint and "needs no threshold" in caught.value.hint


@pytest.mark.parametrize(("name", "content"), [("modules.json", "{"), ("modules.json", "{}"), ("config.json", "[")])
def test_broken_json_is_named(capped: Path, name: str, content: str) -> None:
    (capped / name).write_text(content)
    with pytest.raises(SourceError, match=name.replace(".", r"\.")):
        of(capped)


def test_a_model_with_pickled_weights_only_is_refused(capped: Path) -> None:
    (capped / "checkpoint-500").mkdir()
    shutil.copyfile(capped / "model.safetensors", capped / "checkpoint-500" / "model.safetensors")
    (capped / "model.safetensors").rename(capped / "pytorch_model.bin")
    with pytest.raises(SourceError, match="no safetensors") as caught:
        of(capped).fetched()
    assert f"`patcher repair {capped} --out DIR`" in caught.value.hint, "patch would send the owner back here"


def test_a_threshold_is_not_built_in_twice(capped: Path) -> None:
    modules = json.loads((capped / "modules.json").read_text())
    entry = {"idx": 2, "name": "2", "path": "2_SparseThreshold", "type": "sparse_threshold.SparseThreshold"}
    (capped / "modules.json").write_text(json.dumps([*modules, entry]))
    (capped / "2_SparseThreshold").mkdir()
    (capped / "2_SparseThreshold" / "config.json").write_text('{"threshold": 0.07}')
    with pytest.raises(UsageError, match=r"a threshold of 0\.07 built in"):
        of(capped)
