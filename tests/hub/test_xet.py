"""Chunk storage: clients side by side, each with its own view, and nothing lost when they are joined."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub import LocalHub
from tests.hub.client import PROLOGUE
from tests.hub.xet import Lane, XetFile, XetStore, _push, hash_file


@pytest.fixture
def store(tmp_path: Path) -> XetStore:
    return XetStore(tmp_path / "cas")


def upload(lane: Lane, folder: Path, content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    path = folder / sha256
    path.write_bytes(content)
    _push(lane.path, path, sha256)
    return sha256


def fetched(store: XetStore, file: XetFile, folder: Path) -> bytes:
    target = folder / "fetched"
    store.fetch(file, target)
    return target.read_bytes()


def test_an_upload_is_found_by_its_sha256_in_its_repository_only(store: XetStore, tmp_path: Path) -> None:
    lane = store.open_lane("models/ola/x", writable=True)
    content = os.urandom(200_000)
    sha256 = upload(lane, tmp_path, content)
    found = store.find("models/ola/x", sha256)
    assert found is not None
    assert found[1] == XetFile(hash_file(tmp_path / sha256), 200_000, sha256)
    assert store.find("models/ola/y", sha256) is None
    store.adopt(lane)
    assert fetched(store, found[1], tmp_path) == content


def test_two_uploads_at_the_same_time_are_both_kept(store: XetStore, tmp_path: Path) -> None:
    contents = [os.urandom(150_000), os.urandom(250_000), os.urandom(50_000)]
    lanes = [store.open_lane("models/ola/x", writable=True) for _ in range(2)]
    names = [upload(lanes[0], tmp_path, contents[0]), upload(lanes[1], tmp_path, contents[1])]
    for lane in lanes:
        store.adopt(lane)
    names.append(upload(lanes[0], tmp_path, contents[2]))
    store.adopt(lanes[0])
    reader = store.open_lane("models/ola/x", writable=False)
    for content, sha256 in zip(contents, names, strict=True):
        found = store.find("models/ola/x", sha256)
        assert found is not None
        assert fetched(store, found[1], tmp_path) == content
    assert reader.url.startswith("local://")


def test_only_what_clients_add_is_counted(store: XetStore, tmp_path: Path) -> None:
    seeded = tmp_path / "seeded"
    seeded.write_bytes(os.urandom(100_000))
    store.put(seeded, hashlib.sha256(seeded.read_bytes()).hexdigest())
    lane = store.open_lane("models/ola/x", writable=True)
    assert store.bytes_added() == 0
    upload(lane, tmp_path, os.urandom(200_000))
    before = store.bytes_added()
    assert 200_000 < before < 210_000
    store.adopt(lane)
    store.open_lane("models/ola/x", writable=True)
    assert store.bytes_added() == before


def test_two_client_processes_work_at_the_same_time(hub: LocalHub, hub_env: dict[str, str], tmp_path: Path) -> None:
    code = """
name = sys.argv[1]
api.create_repo(f"ola/{name}")
for round in range(2):
    content = os.urandom(300_000)
    api.upload_file(path_or_fileobj=content, path_in_repo="a.bin", repo_id=f"ola/{name}")
    path = api.snapshot_download(f"ola/{name}") + "/a.bin"
    assert open(path, "rb").read() == content
"""
    clients = [
        subprocess.Popen(
            [sys.executable, "-c", PROLOGUE + code, name],
            env=hub_env | {"HF_HOME": str(tmp_path / name)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    for client in clients:
        _, errors = client.communicate(timeout=60)
        assert client.returncode == 0, errors
    assert len(hub.commits("ola/one")) == len(hub.commits("ola/two")) == 3
