"""The folder is complete or absent, whatever happens while it is written."""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path

import pytest

from patcher.errors import OutputError, SourceError
from patcher.hashing import sha256_of
from patcher.patching.writer import staged_model
from patcher.pipeline.api import check_out, patch_model
from patcher.planning.plan import make_plan
from patcher.source.snapshot import resolve
from tests.conftest import MINI, listing_others
from tests.patching.writing import is_whole, plan_of_mini, write, write_from
from tests.pipeline.conftest import Pickled


def test_every_file_is_on_record_with_its_hash_before_and_after(tmp_path: Path) -> None:
    model = write(tmp_path / "out")
    assert is_whole(model.folder)
    assert {file.path for file in model.files} == {p.name for p in model.folder.iterdir()} - {"patch.json"}
    for file in model.files:
        assert file.before == sha256_of(MINI / file.path)
        assert (file.before == file.after) is (file.action == "copied")
    assert not (model.folder / "model.onnx").exists()


def test_the_record_holds_the_source_the_versions_the_diff_and_the_published_code(tmp_path: Path) -> None:
    write(tmp_path / "out")
    record = json.loads((tmp_path / "out" / "patch.json").read_text())
    assert record["source"]["path"] == MINI.name
    assert set(record["versions"]) == {"python", "libcst", "huggingface_hub"}
    assert "--- a/modeling_gptbert.py\n+++ b/modeling_gptbert.py\n" in record["diff"]
    published = base64.b64decode(record["originals"]["modeling_gptbert.py"])
    assert published == (MINI / "modeling_gptbert.py").read_bytes()


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_the_source_is_left_as_it_was(tmp_path: Path) -> None:
    before = {path.name: sha256_of(path) for path in MINI.iterdir()}
    write(tmp_path / "out")
    assert {path.name: sha256_of(path) for path in MINI.iterdir()} == before


def test_a_card_edited_by_hand_stops_a_new_patch(patched: Path) -> None:
    (patched / "README.md").write_text("# Mine\n")
    with pytest.raises(OutputError, match="edited by hand"):
        check_out(patched, resolve(str(MINI)))


@pytest.mark.parametrize("place", [".", "sub/folder", ".."])
def test_an_output_and_a_source_that_contain_each_other_are_refused(mini: Path, place: str) -> None:
    out = (mini / place).resolve()
    with pytest.raises(OutputError):
        check_out(out, resolve(str(mini)))


def test_a_model_without_safetensors_is_refused(mini: Path, tmp_path: Path) -> None:
    (mini / "model.safetensors").rename(mini / "pytorch_model.bin")
    with pytest.raises(SourceError, match="no safetensors weights"):
        write_from(mini, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_those_that_the_hub_lists_are_not_carried_over(mini: Path, tmp_path: Path) -> None:
    snapshot = listing_others(mini)
    with (
        pytest.raises(SourceError, match=r"model\.safetensors of .* is not the file that the Hub lists"),
        staged_model(plan_of_mini(), snapshot, tmp_path / "out"),
    ):
        pass
    assert not (tmp_path / "out").exists()


def test_pickles_that_are_not_those_that_the_hub_lists_are_not_converted(pickled: Pickled, tmp_path: Path) -> None:
    snapshot = listing_others(pickled(), "pytorch_model.bin")
    with pytest.raises(SourceError, match=r"pytorch_model\.bin of .* is not the file that the Hub lists"):
        patch_model(make_plan(snapshot), snapshot, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


def test_a_link_in_the_source_becomes_a_file(mini: Path, tmp_path: Path) -> None:
    """The Hub cache is made of links; the patched folder must not depend on it."""
    shutil.move(mini / "tokenizer.json", mini / "blob")
    os.symlink(mini / "blob", mini / "tokenizer.json")
    write_from(mini, tmp_path / "out")
    assert not (tmp_path / "out" / "tokenizer.json").is_symlink()
