"""References, trees, pull requests and conflicts, through the client."""

from __future__ import annotations

import pytest
from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub import LocalHub
from tests.hub.fixtures import KARI


def test_a_stale_parent_is_refused_and_a_pull_request_starts_there(hub: LocalHub, api: HfApi) -> None:
    api.create_repo("ola/x")
    stale = hub.head("ola/x")
    newer = hub.commit("ola/x", {"other.txt": b"other"})

    def add(parent: str, **options: bool) -> CommitInfo:
        operations = [CommitOperationAdd("a.txt", b"a")]
        return api.create_commit("ola/x", operations, commit_message="Race", parent_commit=parent, **options)

    with pytest.raises(HfHubHTTPError, match="The branch was updated") as caught:
        add(stale)
    assert caught.value.response.status_code == 412
    assert hub.head("ola/x") == newer
    pull = add(stale, create_pr=True)
    assert hub.commits("ola/x", "refs/pr/1")[0].parents == (stale,)
    assert pull.pr_url == f"{hub.endpoint}/ola/x/discussions/1"
    assert hub.head("ola/x") == newer
    assert add(newer[:7]).oid == hub.head("ola/x")


def test_a_pull_request_is_opened_continued_and_merged(hub: LocalHub, api: HfApi) -> None:
    hub.create_repo("ola/x", {"a.txt": b"a", "b.txt": b"b"})
    kari = HfApi(hub.endpoint, token=KARI)
    opened = kari.create_pull_request("ola/x", "Better", description="Why")
    assert (opened.status, opened.is_pull_request) == ("draft", True)
    for content in (b"1", b"2"):
        kari.create_commit("ola/x", [CommitOperationAdd("a.txt", content)], commit_message="More", revision="refs/pr/1")
    kari.create_commit("ola/x", [CommitOperationDelete("b.txt")], commit_message="Less", revision="refs/pr/1")
    kari.rename_discussion("ola/x", 1, "Better still")
    kari.comment_discussion("ola/x", 1, "Done")
    hub.commit("ola/x", {"c.txt": b"c"})
    api.change_discussion_status("ola/x", 1, "open")
    api.merge_pull_request("ola/x", 1)
    details = api.get_discussion_details("ola/x", 1)
    assert (details.title, details.status) == ("Better still", "merged")
    assert details.merge_commit_oid == hub.head("ola/x")
    assert [event.type for event in details.events].count("commit") == 3
    assert set(hub.files("ola/x")) == {".gitattributes", "a.txt", "c.txt"}
    assert hub.read("ola/x", "a.txt") == b"2"


def test_branches_and_tags(hub: LocalHub, api: HfApi) -> None:
    first = hub.create_repo("ola/x", {"a.txt": b"a"})
    api.create_branch("ola/x", branch="trial/one")
    api.create_commit("ola/x", [CommitOperationAdd("a.txt", b"b")], commit_message="On a branch", revision="trial/one")
    assert hub.head("ola/x") == first
    assert hub.read("ola/x", "a.txt", "trial/one") == b"b"
    with pytest.raises(HfHubHTTPError, match="already exists"):
        api.create_branch("ola/x", branch="trial/one")
    with pytest.raises(HfHubHTTPError, match="Cannot delete refs/heads/main"):
        api.delete_branch("ola/x", branch="main")
    api.create_tag("ola/x", tag="v1", revision="trial/one")
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_tag("ola/x", tag="v1")
    assert caught.value.response.status_code == 409
    api.delete_branch("ola/x", branch="trial/one")
    assert hub.read("ola/x", "a.txt", "v1") == b"b"
    api.delete_tag("ola/x", tag="v1")
    with pytest.raises(RevisionNotFoundError):
        api.list_repo_commits("ola/x", revision="v1")


def test_trees_come_in_pages_and_say_who_changed_a_file_last(hub: LocalHub, api: HfApi) -> None:
    hub.configure(tree_page_size=4, expanded_page_size=3)
    hub.create_repo("ola/x", {f"folder/{i}.txt": b"%d" % i for i in range(9)} | {"top.txt": b"top"})
    changed = hub.commit("ola/x", {"folder/3.txt": b"new"}, "Change three")
    assert len(list(api.list_repo_tree("ola/x", recursive=True))) == 12
    assert [entry.path for entry in api.list_repo_tree("ola/x")] == [".gitattributes", "folder", "top.txt"]
    entries = {one.path: one for one in api.list_repo_tree("ola/x", "folder", expand=True)}
    assert len(entries) == 9
    assert entries["folder/3.txt"].last_commit.oid == changed
    assert entries["folder/2.txt"].last_commit.title == "initial commit"
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree("ola/x", "nothing"))
    infos = api.get_paths_info("ola/x", ["top.txt", "absent", "folder"], expand=True)
    assert [info.path for info in infos] == ["top.txt", "folder"]


def test_deletions(hub: LocalHub, api: HfApi) -> None:
    hub.create_repo("ola/x", {"a/1.txt": b"1", "a/2.txt": b"2", "b.txt": b"b"})
    api.delete_file("b.txt", "ola/x")
    api.delete_folder("a", "ola/x")
    assert set(hub.files("ola/x")) == {".gitattributes"}
    with pytest.raises(RemoteEntryNotFoundError, match="A file with this name doesn't exist"):
        api.delete_file("b.txt", "ola/x")
    api.delete_repo("ola/x")
    assert not hub.exists("ola/x")


def test_a_bad_path_is_refused(hub: LocalHub, api: HfApi) -> None:
    hub.create_repo("ola/x", {"a.txt": b"a"})
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_commit("ola/x", [CommitOperationAdd("a.txt/b.txt", b"")], commit_message="Below a file")
    assert caught.value.response.status_code == 422


def test_the_client_is_told_what_is_unchanged(hub: LocalHub, api: HfApi) -> None:
    head = hub.create_repo("ola/x", {"a.txt": b"a", "w.safetensors": b"12345"})
    same = [CommitOperationAdd("a.txt", b"a"), CommitOperationAdd("w.safetensors", b"12345")]
    assert api.create_commit("ola/x", same, commit_message="Nothing new").oid == head
    assert hub.head("ola/x") == head


def test_pull_request_references_are_listed(hub: LocalHub, api: HfApi) -> None:
    hub.create_repo("ola/x")
    api.create_commit("ola/x", [CommitOperationAdd("a.txt", b"a")], commit_message="x", create_pr=True)
    (pull,) = api.list_repo_refs("ola/x", include_pull_requests=True).pull_requests or []
    assert (pull.ref, pull.target_commit) == ("refs/pr/1", hub.head("ola/x", "refs/pr/1"))
