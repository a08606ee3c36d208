"""The record of a patched folder: the base model's code is kept as what differs from the code as published."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patcher.errors import OutputError
from patcher.patching.record import apply_changes, line_changes, load, read_record
from patcher.planning.plan import make_plan
from patcher.source.snapshot import resolve
from patcher.verify.requests import base_code
from tests.conftest import MINI
from tests.patching.writing import write

LINES = st.lists(st.sampled_from([b"a\n", b"b\r\n", b"c", b"\n", b"\xff\n"])).map(b"".join)


@given(LINES, LINES)
def test_changes_turn_one_file_into_the_other(before: bytes, after: bytes) -> None:
    assert apply_changes(before, line_changes(before, after)) == after


def test_equal_files_have_no_changes() -> None:
    assert line_changes(b"a\nb\n", b"a\nb\n") == ()


def test_the_base_model_s_code_comes_back_from_the_record(patched_once: Path) -> None:
    plan, model = make_plan(resolve(str(MINI))), load(patched_once)
    assert base_code(model)["modeling_gptbert.py"] == plan.base["modeling_gptbert.py"]
    assert model.base is not None
    stored = sum(len(change.content) for change in model.base["modeling_gptbert.py"])
    assert 0 < stored < 4000, "the changes, not the file"


@pytest.mark.parametrize("name", ["originals", "base"])
def test_a_path_out_of_the_folder_is_refused(patched: Path, name: str) -> None:

    record = json.loads((patched / "patch.json").read_text("utf-8"))
    record[name]["../evil.py"] = record[name].popitem()[1]
    (patched / "patch.json").write_text(json.dumps(record))
    with pytest.raises(OutputError, match="record"):
        load(patched)


@pytest.mark.parametrize("path", ["../evil.py", "/tmp/evil.py", "a/../../evil.py"])
@pytest.mark.parametrize("key", ["files", "originals"])
def test_a_record_that_leads_out_of_the_folder_is_refused(patched: Path, key: str, path: str) -> None:
    record = json.loads((patched / "patch.json").read_text())
    if key == "files":
        record["files"][0]["path"] = path
    else:
        record["originals"][path] = ""
    (patched / "patch.json").write_text(json.dumps(record))
    with pytest.raises(OutputError, match="not a record"):
        load(patched)


@pytest.mark.parametrize("change", [{"originals": []}, {"codemods": None}, {"base_card": []}, {"diff": 5}])
def test_a_record_of_another_shape_is_refused(patched: Path, change: dict[str, object]) -> None:
    path = patched / "patch.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(OutputError, match="not a record"):
        load(patched)


@pytest.mark.parametrize("content", ["", "{}", '{"tool": {"name": "splade-patcher"}, "schema_version": 99}'])
def test_a_record_that_cannot_be_understood_is_refused(patched: Path, content: str) -> None:
    (patched / "patch.json").write_text(content)
    with pytest.raises(OutputError, match="not a record"):
        load(patched)


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not a patched folder"):
        load(tmp_path)


def test_a_record_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    model = write(tmp_path / "out")
    record = json.loads((model.folder / "patch.json").read_text())
    for key in ("kept_cap", "encoders", "converted", "dropped"):
        del record[key]
    record["options"] |= {"also_signed": False}
    for file in record["files"]:
        del file["origin"]
    found = read_record(model.folder, json.dumps(record).encode())
    assert (found.files, found.originals, found.soft_cap) == (model.files, model.originals, model.soft_cap)


@pytest.mark.parametrize(
    "change",
    [
        {"tool": {"name": "other"}},
        {"schema_version": 2},
        {"auto_class": "AutoModel\n```"},
        {"originals": {"../a.py": ""}},
        {"originals": {"a.py": "no base64!"}},
        {"encoders": ["/etc"]},
        {"files": [{"path": "a", "action": "copied", "sha256_before": "", "sha256_after": "", "size": "many"}]},
        {"source": {"repo_id": "../..", "revision": None, "path": None}},
        {"diff": None},
        {"options": {"codemods": ["unknown"]}},
    ],
)
def test_a_record_that_can_not_be_trusted_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    write(tmp_path / "out")
    record = json.loads((tmp_path / "out" / "patch.json").read_text())
    (tmp_path / "out" / "patch.json").write_text(json.dumps({**record, **change}))
    with pytest.raises(OutputError, match="is not a record that this version"):
        load(tmp_path / "out")


def test_the_source_s_copy_of_weights_is_read_only_where_the_folder_s_own_are_others(
    patched: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    own, copy = (folder / "model.safetensors" for folder in (patched, source))
    content = own.read_bytes()
    copy.write_bytes(content)
    model = load(patched)
    model = replace(model, source=replace(model.source, path=source.name, folder=source))
    (file,) = model.weights
    assert model.source_weights(file) == own, "the same bytes"
    own.unlink()  # it may share its bytes with the miniature's
    own.write_bytes(content[:-1] + b"\0")
    assert model.source_weights(file) == copy
    blob = tmp_path / "blob"
    own.unlink()
    blob.write_bytes(content)
    own.symlink_to(blob)
    assert model.source_weights(file) == own, "what reads it goes by the suffix"
    blob.write_bytes(content[:-1] + b"\0")
    copy.write_bytes(content[:-1] + b"\1")
    assert model.source_weights(file) == own, "nothing else is left"
