"""Pickled weights become safetensors: equal tensor by tensor, tied where they were, and never by running anything."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from patcher.errors import PatcherError, SourceError, UsageError
from patcher.hashing import sha256_of
from patcher.patching.record import load
from patcher.pipeline.api import patch_model
from patcher.planning.plan import make_plan
from patcher.source.snapshot import resolve
from tests.conftest import MINI, Run
from tests.pipeline.conftest import EMBEDDING, OUTPUT, Pickled, pickle_weights
from tests.sandbox.stand_in import answer_with
from tests.verify.running import failed, report_on


def patch(source: Path, out: Path, code_only: bool = False) -> Path:
    snapshot = resolve(str(source))
    folder = patch_model(make_plan(snapshot), snapshot, out, None, code_only=code_only).folder
    assert folder is not None
    return folder


@pytest.fixture(scope="module")
def converted_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A repository with one pickle in which two names are tied, and what became of it. Not to be written to."""
    place = tmp_path_factory.mktemp("converted")
    source = pickle_weights(shutil.copytree(MINI, place / "norbert4-pickled"), tied=True)
    return source, patch(source, place / "converted-once")


@pytest.fixture
def converted(converted_once: tuple[Path, Path], tmp_path: Path) -> Path:
    """A converted folder that a test may damage."""
    return shutil.copytree(converted_once[1], tmp_path / f"converted-{tmp_path.name}")


def test_where_safetensors_exist_pickles_stay_behind(mini: Path) -> None:
    torch.save({"a": torch.zeros(1)}, mini / "pytorch_model.bin")
    files = make_plan(resolve(str(mini))).files
    assert not files.converted and "pytorch_model.bin" in files.dropped and "model.safetensors" in files.copied


@pytest.mark.parametrize(
    "name", ["training_args.bin", "optimizer.bin", "pytorch_model-00001-of-00002.bin", "sub/pytorch_model.bin"]
)
def test_other_pickles_are_never_converted(mini: Path, name: str) -> None:
    """A shard without its index belongs to nothing that a loader would find, a strange folder to no model."""
    (mini / "model.safetensors").unlink()
    (mini / name).parent.mkdir(exist_ok=True)
    (mini / name).write_bytes(b"")
    files = make_plan(resolve(str(mini))).files
    assert not files.converted and name in files.dropped


def test_one_pickle_becomes_one_file_with_equal_tensors_and_is_on_record(
    converted_once: tuple[Path, Path], converted: Path, tmp_path: Path
) -> None:
    source = converted_once[0]
    made, original = load_file(converted / "model.safetensors"), torch.load(source / "pytorch_model.bin")
    assert set(made) == set(original) and all(torch.equal(made[name], original[name]) for name in original)
    with safe_open(converted / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    model = load(converted)
    record = model.file("model.safetensors")
    assert record is not None and record.action == "converted" and record.origin == "pytorch_model.bin"
    assert record.before == sha256_of(source / "pytorch_model.bin")
    assert record.after == sha256_of(converted / "model.safetensors")
    assert (model.converted[0].path, model.converted[0].origin) == ("model.safetensors", "pytorch_model.bin")
    assert model.converted[0].tensors == 79
    assert not list(converted.glob("*.bin")) and not list(converted.glob("patcher-*"))
    card = (converted / "README.md").read_text("utf-8")
    assert record.before in card and record.after in card and "converted from `pytorch_model.bin`" in card


def test_tied_tensors_stand_under_each_of_their_names_load_equal_and_are_told(converted: Path, tmp_path: Path) -> None:
    from patcher.verify.measure.models import load_as_users_do

    made = load_file(converted / "model.safetensors")
    assert torch.equal(made[EMBEDDING], made[OUTPUT])
    model, info = load_as_users_do(str(converted))
    state = model.state_dict()
    assert torch.equal(state[EMBEDDING], state[OUTPUT]) and torch.equal(state[EMBEDDING], made[EMBEDDING])
    assert not info["missing_keys"] and not info["unexpected_keys"]
    report = report_on(converted, tmp_path / "scratch")
    checks = {check.name: check for check in report.checks}
    assert checks["weights_unchanged"].passed and checks["weights_converted"].passed
    detail, record = checks["weights_converted"].detail, load(converted).file("model.safetensors")
    assert record is not None and record.before[:12] in detail and record.after[:12] in detail
    assert f"{OUTPUT} = {EMBEDDING}" in detail and "79 tensors" in detail


def test_the_loaded_weights_are_held_against_the_pickle(
    converted_once: tuple[Path, Path], converted: Path, tmp_path: Path
) -> None:
    """A conversion that were wrong, and a record that agreed with it, would still not pass."""
    folder = converted
    tensors = load_file(folder / "model.safetensors")
    tensors[OUTPUT][0, 0] += 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    path = folder / "patch.json"
    old = load(folder).file("model.safetensors")
    assert old is not None
    path.write_text(path.read_text().replace(old.after, sha256_of(folder / "model.safetensors")))
    model = load(folder)  # which says no more where the source lies
    model = replace(model, source=replace(model.source, folder=converted_once[0]))
    report = report_on(folder, tmp_path / "scratch", model)
    assert "weights_unchanged" in failed(report)
    assert OUTPUT in report.checks[0].detail and "weights_converted" not in failed(report)


def test_a_converted_file_that_was_altered_later_is_caught(converted: Path, tmp_path: Path) -> None:
    folder = converted
    tensors = load_file(folder / "model.safetensors")
    tensors[OUTPUT][0, 0] += 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert {"weights_unchanged", "weights_converted"} <= failed(report_on(folder, tmp_path / "scratch"))


def test_shards_stay_shards_with_an_index_that_names_them(pickled: Pickled, tmp_path: Path) -> None:
    folder = patch(pickled(shards=2), tmp_path / f"out-{tmp_path.name}")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    names = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
    assert set(index["weight_map"].values()) == names
    for name, file in index["weight_map"].items():
        with safe_open(folder / file, framework="pt") as tensors:
            assert tensors.get_tensor(name).numel()
    report = report_on(folder, tmp_path / "scratch")
    assert report.passed, failed(report)
    assert [made.path for made in load(folder).converted] == sorted(names)


@pytest.mark.parametrize("shard", ["../elsewhere.bin", "pytorch_model-00009-of-00002.bin", 5])
def test_an_index_that_names_what_is_not_there_is_refused(pickled: Pickled, tmp_path: Path, shard: object) -> None:
    source = pickled(shards=2)
    index = json.loads((source / "pytorch_model.bin.index.json").read_text())
    index["weight_map"][OUTPUT] = shard
    (source / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(SourceError, match=r"lacks .*which pytorch_model|not an index of weights"):
        patch(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Hostile:
    """Unpickled, it would make a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_pickle_that_would_run_code_is_refused_and_nothing_runs(
    mini: Path, tmp_path: Path, form: str, cli: Run
) -> None:
    marker, out = tmp_path / "marker", tmp_path / "place" / "out"
    (mini / "model.safetensors").unlink()
    state = {"a": torch.zeros(2), "b": Hostile(marker)}
    if form == "torch":
        torch.save(state, mini / "pytorch_model.bin")
    else:
        (mini / "pytorch_model.bin").write_bytes(pickle.dumps(state))
    done = cli("patch", mini, "--out", out, "--no-verify")
    assert done.returncode == 3 and not marker.exists()
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith("Error: pytorch_model.bin of ") and hint.startswith("Hint: None of its code was run.")
    if form == "torch":
        assert "would run code (posix.mkdir)" in error
    assert list(out.parent.iterdir()) == []


FOUND = {"tensors": 1, "differing": [], "tied": [], "refused": None}


def test_a_conversion_that_differs_writes_nothing(
    pickled: Pickled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, [{**FOUND, "differing": ["a"]}])
    snapshot = resolve(str(pickled()))
    with pytest.raises(PatcherError, match="differs from"):
        patch_model(make_plan(snapshot), snapshot, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ([{**FOUND, "tensors": "many"}], "expected a whole number"),
        ([{"tensors": 1}], "missing"),
        ([], "0 files instead of 1"),
        ({}, "expected a list"),
    ],
)
def test_an_answer_that_cannot_be_read_is_told(
    pickled: Pickled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: object, why: str
) -> None:
    answer_with(monkeypatch, answer)
    with pytest.raises(SourceError, match=f"The child process's answer can't be read: .*{why}") as caught:
        patch(pickled(), tmp_path / "out")
    assert caught.value.hint


def test_code_only_makes_no_sense_for_weights_that_have_to_be_converted(pickled: Pickled, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="have to be converted"):
        patch(pickled(), tmp_path / "out", code_only=True)
