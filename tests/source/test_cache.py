"""What is read from the folders of the Hub's client; what only looks like one gives nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patcher.source.cache import linked_weights, named_hash, noted_commit, stores


def test_only_a_snapshot_of_the_cache_has_stores(tmp_path: Path) -> None:
    repository = tmp_path / "models--a--b"
    assert stores(repository / "snapshots" / "0") == [repository / "blobs", tmp_path / "blobs"]
    assert stores(tmp_path / "a" / "snapshots" / "0") == stores(repository / "0") == []


@pytest.mark.parametrize(
    ("blob", "found"), [("a" * 40, {"blob_id": "a" * 40}), ("b" * 64, {"sha256": "b" * 64}), ("x" * 40, {}), ("", {})]
)
def test_the_name_of_a_blob_is_its_hash(blob: str, found: dict[str, str]) -> None:
    assert named_hash(blob) == found


def test_the_notes_of_one_download_name_its_commit(tmp_path: Path) -> None:
    notes = tmp_path / ".cache" / "huggingface" / "download" / "sub"
    notes.mkdir(parents=True)
    assert noted_commit(tmp_path) is None
    (notes / "a.metadata").write_text(f"{'1' * 40}\netag\n0.0\n")
    assert noted_commit(tmp_path) == "1" * 40
    (notes / "b.metadata").write_text("")
    assert noted_commit(tmp_path) is None


def test_the_record_says_which_weights_are_links(tmp_path: Path) -> None:
    assert linked_weights(tmp_path) == {}
    files = [{"path": "a", "sha256_after": "0", "storage": "symlink"}, {"path": "b", "sha256_after": "1"}]
    (tmp_path / "patch.json").write_text(json.dumps({"files": files}))
    assert linked_weights(tmp_path) == {"a": "0"}
