"""Copies between repositories: nothing is sent, and what may not be copied is refused."""

from __future__ import annotations

import json
import os

import pytest
from huggingface_hub import CommitInfo, CommitOperationCopy, HfApi
from huggingface_hub.errors import (
    BadRequestError,
    FileDuplicationError,
    HfHubHTTPError,
)
from huggingface_hub.utils import get_session, hf_raise_for_status

from tests.hub import LocalHub
from tests.hub.fixtures import KARI, OLA


def test_copies_between_repositories_move_no_content(hub: LocalHub, api: HfApi) -> None:
    files = {"model.safetensors": os.urandom(400_000), "config.json": b'{"a": 1}'}
    source = hub.create_repo("norsk/mini", files)
    api.create_repo("ola/x")
    hub.reset_counters()
    api.create_commit("ola/x", [_copy(name, source) for name in files], commit_message="Copies")
    assert {name: hub.read("ola/x", name) for name in files} == files
    assert hub.counters.uploaded < 5_000
    assert not [r for r in hub.requests if r.origin == "storage" or "xet-" in r.path]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"xet": False}, ValueError, "no xet hash"),
        ({"region": "eu"}, FileDuplicationError, "storage regions"),
        ({"gated": "manual"}, HfHubHTTPError, "not in the authorized list"),
    ],
    ids=["no-xet-hash", "other-region", "gated"],
)
def test_a_copy_that_cannot_be_made_leaves_the_target_alone(
    hub: LocalHub, api: HfApi, options: dict[str, str], error: type[Exception], message: str
) -> None:
    source = hub.create_repo("fremmed/mini", {"model.safetensors": b"12345"}, **options)  # type: ignore[arg-type]
    api.create_repo("ola/x")
    head = hub.head("ola/x")
    copy = CommitOperationCopy(
        "model.safetensors", "m.safetensors", source, src_repo_id="fremmed/mini", src_repo_type="model"
    )
    with pytest.raises(error, match=message):
        api.create_commit("ola/x", [copy], commit_message="Copy")
    assert hub.head("ola/x") == head


def test_single_files_can_be_refused_with_any_message(hub: LocalHub, api: HfApi) -> None:
    source = hub.create_repo("norsk/mini", {"a.safetensors": b"a", "b.safetensors": b"b"})
    hub.refuse_duplicate("norsk/mini", r"b\..*", "quota exceeded")
    api.create_repo("ola/x")
    with pytest.raises(FileDuplicationError, match="quota exceeded") as caught:
        api.create_commit(
            "ola/x",
            [_copy(name, source) for name in ("a.safetensors", "b.safetensors")],
            commit_message="Copy",
        )
    assert str(caught.value).count("  - ") == 1


def test_an_object_of_another_repository_cannot_be_named(hub: LocalHub, api: HfApi) -> None:
    hub.create_repo("norsk/mini", {"model.safetensors": b"12345"})
    hub.create_repo("ola/x")
    sha256 = hub.files("norsk/mini")["model.safetensors"].sha256
    header = {"key": "header", "value": {"summary": "x"}}
    line = {"key": "lfsFile", "value": {"path": "a", "algo": "sha256", "oid": sha256}}
    answer = get_session().post(
        f"{hub.endpoint}/api/models/ola/x/commit/main",
        content=f"{json.dumps(header)}\n{json.dumps(line)}".encode(),
        headers={"Authorization": f"Bearer {OLA}"},
    )
    with pytest.raises(BadRequestError, match="does not exist"):
        hf_raise_for_status(answer)


def _copy(name: str, revision: str) -> CommitOperationCopy:
    return CommitOperationCopy(name, name, revision, src_repo_id="norsk/mini", src_repo_type="model")


def test_copies_need_the_right_to_write_unless_told_otherwise(hub: LocalHub) -> None:
    source = hub.create_repo("norsk/mini", {"model.safetensors": b"12345"})
    hub.create_repo("ola/x")
    kari = HfApi(hub.endpoint, token=KARI)

    def copy() -> CommitInfo:
        return kari.create_commit("ola/x", [_copy("model.safetensors", source)], commit_message="Copy", create_pr=True)

    with pytest.raises(HfHubHTTPError, match="rights to write"):
        copy()
    assert hub.pull_requests("ola/x") == []
    hub.configure(duplicate_needs_write=False)
    assert copy().pr_num == 1


def test_a_whole_repository_is_duplicated(hub: LocalHub, api: HfApi) -> None:
    hub.create_repo("norsk/mini", {"model.safetensors": b"12345"})
    last = hub.commit("norsk/mini", {"a.txt": b"a"})
    assert api.duplicate_repo("norsk/mini", "ola/mine") == f"{hub.endpoint}/ola/mine"
    assert hub.head("ola/mine") == last
    assert hub.read("ola/mine", "model.safetensors") == b"12345"
