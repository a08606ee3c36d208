"""A plain huggingface_hub session against the local Hub, so that it serves the client and not one tool."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from tests.hub import LocalHub
from tests.hub.client import run_client

SESSION = """
weights = os.urandom(300_000)
api.create_repo("ola/first", private=True)
api.create_repo("ola/first", exist_ok=True)
one = api.create_commit("ola/first", [
    CommitOperationAdd("config.json", b"{}"),
    CommitOperationAdd("README.md", b"---\\nlicense: mit\\n---\\n# First"),
    CommitOperationAdd("model.safetensors", weights),
], commit_message="All at once", commit_description="in one commit")
os.makedirs("folder/sub")
open("folder/sub/more.bin", "wb").write(weights[:200_000])
open("folder/notes.txt", "w").write("notes")
two = api.upload_folder(repo_id="ola/first", folder_path="folder", commit_message="A folder")
file = api.hf_hub_download("ola/first", "config.json")
snapshot = api.snapshot_download("ola/first", revision=two.oid)
pull = api.create_commit("ola/first", [CommitOperationAdd("config.json", b"[]")], commit_message="Change it",
                         commit_description="Because.", create_pr=True, parent_commit=two.oid)
api.create_tag("ola/first", tag="v1", revision=one.oid)
info = api.model_info("ola/first", files_metadata=True)
result = {
    "whoami": api.whoami()["name"],
    "equal": open(snapshot + "/model.safetensors", "rb").read() == weights,
    "equal_folder": open(snapshot + "/sub/more.bin", "rb").read() == weights[:200_000],
    "config": open(file).read(),
    "commits": [one.oid, two.oid, pull.oid],
    "titles": [commit.title for commit in api.list_repo_commits("ola/first")],
    "pull_request": [pull.pr_revision, pull.pr_num],
    "discussions": [[d.title, d.status, d.is_pull_request] for d in api.get_repo_discussions("ola/first")],
    "diff": api.get_discussion_details("ola/first", pull.pr_num).diff,
    "refs": [[tag.name, tag.target_commit] for tag in api.list_repo_refs("ola/first").tags],
    "lfs": sorted([s.rfilename, s.lfs.sha256, s.size] for s in info.siblings if s.lfs),
    "license": info.card_data.license,
    "private": info.private,
}
"""


@pytest.mark.parametrize("xet", [True, False], ids=["xet", "lfs"])
def test_a_session_works_with_and_without_xet(
    hub: LocalHub, hub_env: dict[str, str], tmp_path: Path, xet: bool
) -> None:
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        seen = run_client(hub_env, SESSION, xet=xet)
    finally:
        os.chdir(before)
    assert seen["whoami"] == "ola"
    assert seen["equal"] and seen["equal_folder"]
    assert seen["config"] == "{}"
    assert seen["titles"] == ["A folder", "All at once", "initial commit"]
    assert seen["pull_request"] == ["refs/pr/1", 1]
    assert seen["discussions"] == [["Change it", "open", True]]
    assert "-{}" in seen["diff"] and "+[]" in seen["diff"]
    assert seen["refs"] == [["v1", seen["commits"][0]]]
    assert seen["license"] == "mit" and seen["private"] is True
    files = hub.files("ola/first")
    assert [name for name, *_ in seen["lfs"]] == ["model.safetensors", "sub/more.bin"]
    assert [[name, files[name].sha256, files[name].size] for name, *_ in seen["lfs"]] == seen["lfs"]
    assert hub.head("ola/first") == seen["commits"][1]
    assert hub.commits("ola/first", "refs/pr/1")[0].parents == (seen["commits"][1],)
    batches = [r for r in hub.requests if r.path.endswith("/info/lfs/objects/batch")]
    write_tokens = [r for r in hub.requests if "/xet-write-token/" in r.path]
    assert bool(write_tokens) == xet and bool(batches) != xet
    assert (hub.counters.xet_stored > 300_000) == xet
    assert (hub.counters.lfs_uploaded == 500_000) != xet


@pytest.mark.parametrize("uploaded_by_xet", [True, False], ids=["xet-then-lfs", "lfs-then-xet"])
def test_what_one_path_uploads_the_other_downloads(
    hub: LocalHub, hub_env: dict[str, str], uploaded_by_xet: bool
) -> None:
    upload = """
api.create_repo("ola/x")
api.upload_file(path_or_fileobj=bytes(range(256)) * 2000, path_in_repo="a.bin", repo_id="ola/x")
"""
    run_client(hub_env, upload, xet=uploaded_by_xet)
    download = """
snapshot = api.snapshot_download("ola/x")
result = open(snapshot + "/a.bin", "rb").read() == bytes(range(256)) * 2000
"""
    hub.reset_counters()
    assert run_client(hub_env, download, xet=not uploaded_by_xet) is True
    by_storage = [r for r in hub.requests if r.origin == "storage"]
    assert bool(by_storage) == uploaded_by_xet
    assert hub.read("ola/x", "a.bin") == bytes(range(256)) * 2000


def test_a_seeded_file_has_the_xet_hash_that_an_upload_gives_it(
    hub: LocalHub, hub_env: dict[str, str], api: HfApi
) -> None:
    content = os.urandom(200_000)
    hub.create_repo("norsk/mini", {"model.safetensors": content})
    api.create_repo("ola/x")
    api.upload_file(path_or_fileobj=content, path_in_repo="model.safetensors", repo_id="ola/x")
    seeded, uploaded = (hub.files(name)["model.safetensors"] for name in ("norsk/mini", "ola/x"))
    assert seeded == uploaded and seeded.xet_hash is not None
    code = "result = api.hf_hub_download('norsk/mini', 'model.safetensors')"
    assert Path(run_client(hub_env, code)).read_bytes() == content


def test_a_large_file_goes_up_in_parts(hub: LocalHub, hub_env: dict[str, str]) -> None:
    hub.configure(multipart_threshold=100_000, part_size=100_000)
    code = """
api.create_repo("ola/x")
api.upload_file(path_or_fileobj=b"0123456789" * 25_000, path_in_repo="a.bin", repo_id="ola/x")
"""
    run_client(hub_env, code, xet=False)
    assert hub.read("ola/x", "a.bin") == b"0123456789" * 25_000
    parts = [r.request_bytes for r in hub.requests if r.origin == "storage" and r.method == "PUT"]
    assert parts == [100_000, 100_000, 50_000]


def test_a_file_that_the_repository_has_is_not_sent_again(hub: LocalHub, hub_env: dict[str, str]) -> None:
    code = """
content = b"x" * 50_000
api.create_repo("ola/x")
for path in ("a.bin", "b.bin"):
    api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id="ola/x")
"""
    run_client(hub_env, code, xet=False)
    assert len([r for r in hub.requests if r.origin == "storage"]) == 1
    assert hub.files("ola/x")["a.bin"].sha256 == hub.files("ola/x")["b.bin"].sha256


def test_a_whole_folder_goes_into_a_draft_pull_request(hub: LocalHub, api: HfApi, tmp_path: Path) -> None:
    hub.create_repo("ola/x")
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "a.txt").write_text("a")
    (tmp_path / "up" / "w.safetensors").write_bytes(os.urandom(100_000))
    info = api.upload_folder(repo_id="ola/x", folder_path=tmp_path / "up", create_pr=True)
    assert info.pr_num == 1
    assert set(hub.files("ola/x", "refs/pr/1")) == {".gitattributes", "a.txt", "w.safetensors"}
    assert hub.pull_requests("ola/x")[0].author == "ola"


def test_the_hub_adds_large_files_to_gitattributes_by_itself(hub: LocalHub, api: HfApi) -> None:
    hub.configure(lfs_threshold=1000)
    hub.create_repo("ola/x")
    api.upload_file(path_or_fileobj=b"x" * 2000, path_in_repo="some large.txt", repo_id="ola/x")
    assert hub.files("ola/x")["some large.txt"].lfs
    assert b"some[[:space:]]large.txt filter=lfs" in hub.read("ola/x", ".gitattributes")


def test_datasets_have_addresses_of_their_own(hub: LocalHub, api: HfApi, tmp_path: Path) -> None:
    api.create_repo("ola/texts", repo_type="dataset")
    api.upload_file(path_or_fileobj=b"a,b", path_in_repo="a.csv", repo_id="ola/texts", repo_type="dataset")
    path = api.hf_hub_download("ola/texts", "a.csv", repo_type="dataset", cache_dir=tmp_path)
    assert Path(path).read_bytes() == b"a,b"
    assert not hub.exists("ola/texts")


def test_a_sparse_file_stays_sparse(hub: LocalHub, tmp_path: Path) -> None:
    big = tmp_path / "big.safetensors"
    with big.open("wb") as file:
        file.truncate(100_000_000)
    hub.create_repo("norsk/big", {"big.safetensors": big})
    assert hub.files("norsk/big")["big.safetensors"].size == 100_000_000
    used = sum(path.stat().st_blocks * 512 for path in hub.root.rglob("*") if path.is_file())
    assert used < 5_000_000
