"""Every kind of folder that this tool makes is published and checked by its record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patcher.codec import Unreadable, json_text
from patcher.errors import OutputError
from patcher.patching.staging import hashes
from patcher.planning.files import fingerprint
from patcher.publish.publishable import KINDS, find_record, load, read
from patcher.source.snapshot import resolve
from patcher.threshold.repaired import repair
from patcher.threshold.save import save
from tests.hub import LocalHub
from tests.publish.conftest import WEIGHTS
from tests.publish.tools import SOURCE, Patcher, hub_files
from tests.threshold.made_up import PASSED

TRAINED = "ltg/norbert4-trained"
CARD = '---\nlicense: apache-2.0\n---\n# {0}\n\nmodel = SparseEncoder("{0}", trust_remote_code=True)\n'


def _finish(folder: Path, record: str, data: dict[str, Any]) -> Path:
    (folder / "README.md").write_text(CARD.format(folder.name))
    (folder / record).write_text(json_text({"schema_version": 1, **data, **hashes(folder)}))
    return folder


def _source(hub: LocalHub, repo_id: str = SOURCE) -> dict[str, Any]:
    return {"repo_id": repo_id, "revision": hub.head(repo_id), "path": None}


def threshold(hub: LocalHub, folder: Path, made: Path) -> Path:
    """What `threshold --save` writes of a model on the Hub."""
    if not hub.exists(TRAINED):
        hub.seed(TRAINED, made)
    save(repair(resolve(str(made))), PASSED, folder)
    record = json.loads((folder / "threshold.json").read_text())
    record["report"]["source"] = _source(hub, TRAINED)
    (folder / "threshold.json").write_text(json_text(record))
    return folder


def training(hub: LocalHub, folder: Path, made: Path) -> Path:
    """What the training script writes, as far as it concerns a publication."""
    (folder / "1_SpladePooling").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(WEIGHTS[:100_000])
    (folder / "modeling_gptbert.py").write_bytes(b"x = 1\n")
    (folder / "1_SpladePooling" / "config.json").write_text("{}")
    base = {**_source(hub), "patched_from": None}
    return _finish(folder, "training.json", {"base": base, "versions": {"splade-patcher": "0.1.0"}})


def export(hub: LocalHub, folder: Path, made: Path, graph: str = "model.onnx") -> Path:
    """What `patcher export` writes, as far as it concerns a publication."""
    folder.mkdir(parents=True)
    (folder / graph).write_bytes(WEIGHTS[:90_000])
    (folder / "tokenizer.json").write_text("{}")
    source = _source(hub)
    mark = f"{SOURCE}@{source['revision']}"
    tool = {"name": "splade-patcher", "version": "0.1.0"}
    return _finish(folder, "export.json", {"source": source, "fingerprint": mark, "passed": True, "tool": tool})


Make = Callable[[LocalHub, Path, Path], Path]


@pytest.mark.parametrize("make", [threshold, training, export])
def test_each_kind_is_published_repeated_checked_and_refused_where_it_changed(
    make: Make, hub: LocalHub, patcher: Patcher, repo_id: str, tmp_path: Path, hand_made_once: Path
) -> None:
    folder = make(hub, tmp_path / "my-model", hand_made_once)
    done = patcher("publish", folder, repo_id, "--yes", "--json")
    assert done.code == 0 and done.data["passed"], done.err
    there = hub_files(hub, repo_id)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(there)
    card = there["README.md"].decode()
    assert f'SparseEncoder("{repo_id}"' in card and '"my-model"' not in card
    assert (done.data["plan"]["bytes_copied"] > 0) is (make is threshold), "the Hub copies what the source has"
    again = patcher("publish", folder, repo_id, "--yes", "--json")
    assert again.code == 0 and again.data["case"] == "nothing to do", again.err
    checked = patcher("check", repo_id, "--json")
    assert checked.code == 0 and checked.data["outcome"] == "passed", checked.out
    shown = patcher("publish", folder, repo_id, "--dry-run")
    assert "Nothing to commit" in shown.out, shown.out

    path = next(path for path in sorted(folder.rglob("*.json")) if path.name not in KINDS)
    path.write_text(path.read_text() + " ")
    changed = patcher("publish", folder, repo_id, "--yes")
    assert changed.code == 3 and "is no longer the file" in changed.err, changed.err
    changes = {path.relative_to(folder).as_posix(): b" ", "extra.py": b"x = 1\n", "adapter_config.json": b"{}"}
    for name, more in changes.items():
        hub.commit(repo_id, {name: there.get(name, b"") + more})
        damaged = patcher("check", repo_id, "--json")
        failed = [one["name"] for one in damaged.data["findings"] if one["passed"] is False]
        assert damaged.code == 1 and failed == ["files_equal"] and name in str(damaged.data["findings"]), damaged.out
        hub.commit(repo_id, {name: there.get(name)})


def test_an_export_of_another_revision_is_refused(
    hub: LocalHub, patcher: Patcher, repo_id: str, tmp_path: Path, folder: Path
) -> None:
    alone = export(hub, tmp_path / "graph", folder)
    record = json.loads((alone / "export.json").read_text())
    record["source"]["revision"] = "0" * 40
    (alone / "export.json").write_text(json_text(record))
    hub.create_repo(f"{repo_id}-source", {"config.json": b"{}"})
    record["source"] = _source(hub, f"{repo_id}-source")
    (alone / "export.json").write_text(json_text(record))
    hub.commit(f"{repo_id}-source", {"config.json": b"{ }"})
    stale = patcher("publish", alone, repo_id, "--yes")
    assert stale.code == 3 and f"was exported from {repo_id}-source@" in stale.err and not hub.exists(repo_id)

    inside = export(hub, folder / "onnx", folder)
    other = patcher("publish", folder, repo_id, "--yes")
    assert other.code == 3 and "is an export of another model" in other.err, other.err
    openvino = export(hub, folder / "openvino", folder, "model.bin")
    for place in (inside, openvino):
        record = json.loads((place / "export.json").read_text())
        record["fingerprint"] = fingerprint(resolve(str(folder)))
        (place / "export.json").write_text(json_text(record))
    done = patcher("publish", folder, repo_id, "--yes", "--json")
    assert done.code == 0 and done.data["passed"], done.err
    assert {"onnx/model.onnx", "openvino/model.bin", "onnx/tokenizer.json", "openvino/export.json"} <= set(
        hub_files(hub, repo_id)
    )
    assert patcher("check", repo_id, "--quiet").out == "passed\n"


def test_a_folder_without_a_record_or_with_one_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"none of patch\.json, export\.json, threshold\.json, training\.json"):
        load(tmp_path)
    assert find_record(["training.json", "threshold.json"]) == "threshold.json"
    for files in ({"../secret": "0"}, {"a": 5}, None):
        text = json_text({"base": {"repo_id": "a/b", "revision": None, "path": None}, "versions": {}, "files": files})
        (tmp_path / "training.json").write_text(text)
        with pytest.raises(Unreadable):
            read(tmp_path, "training.json")
        with pytest.raises(OutputError, match="is not a record"):
            load(tmp_path)
