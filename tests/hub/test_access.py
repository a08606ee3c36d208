"""Who may see and change what, and in which words the Hub says no."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session

from tests.hub import LocalHub
from tests.hub.client import run_client
from tests.hub.fixtures import KARI, LESER, OLA


def as_(hub: LocalHub, token: str | bool) -> HfApi:
    return HfApi(hub.endpoint, token=token)


def status(error: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    return error.value.response.status_code


def add() -> list[CommitOperationAdd]:
    return [CommitOperationAdd("a.txt", b"a")]


def test_a_missing_repository_is_404_with_a_token_and_401_without(hub: LocalHub) -> None:
    with pytest.raises(RepositoryNotFoundError) as with_token:
        as_(hub, OLA).model_info("norsk/none")
    # Over http the client has no special error for this 401; over https it has.
    with pytest.raises(HfHubHTTPError, match="Invalid username or password") as without:
        as_(hub, False).model_info("norsk/none")
    assert (status(with_token), status(without)) == (404, 401)
    assert "X-Error-Code" not in without.value.response.headers


def test_a_private_repository_looks_missing_to_others(hub: LocalHub) -> None:
    hub.create_repo("ola/secret", {"a.txt": b"a"}, private=True)
    hub.create_repo("norsk/secret", {"a.txt": b"a"}, private=True)
    with pytest.raises(RepositoryNotFoundError):
        as_(hub, KARI).model_info("ola/secret")
    with pytest.raises(HfHubHTTPError):
        as_(hub, False).model_info("ola/secret")
    assert as_(hub, KARI).model_info("norsk/secret").private is True
    assert [model.id for model in as_(hub, KARI).list_models()] == ["norsk/secret"]


def test_a_token_that_nobody_has_is_refused_even_for_public_things(hub: LocalHub) -> None:
    hub.create_repo("norsk/mini")
    with pytest.raises(HfHubHTTPError, match="Invalid credentials in Authorization header") as caught:
        as_(hub, "hf_nobody").model_info("norsk/mini")
    assert status(caught) == 401
    hub.revoke_token(OLA)
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        as_(hub, OLA).whoami()


def test_a_read_token_reads_and_nothing_else(hub: LocalHub, tmp_path: Path) -> None:
    hub.create_repo("leser/mini", {"a.txt": b"a"})
    leser = as_(hub, LESER)
    assert leser.whoami()["auth"]["accessToken"]["role"] == "read"
    leser.auth_check("leser/mini")
    leser.hf_hub_download("leser/mini", "a.txt", cache_dir=tmp_path)
    for refused in (
        lambda: leser.auth_check("leser/mini", write=True),
        lambda: leser.create_repo("leser/other"),
        lambda: leser.create_commit("leser/mini", add(), commit_message="x"),
        lambda: leser.create_commit("leser/mini", add(), commit_message="x", create_pr=True),
        lambda: leser.create_tag("leser/mini", tag="v1"),
    ):
        with pytest.raises(HfHubHTTPError, match="you must use a write token") as caught:
            refused()
        assert status(caught) == 403


def test_others_may_only_open_pull_requests(hub: LocalHub) -> None:
    head = hub.create_repo("ola/x", {"a.txt": b"0"})
    kari = as_(hub, KARI)
    with pytest.raises(HfHubHTTPError, match="rights to write") as caught:
        kari.create_commit("ola/x", add(), commit_message="x")
    assert status(caught) == 403
    with pytest.raises(HfHubHTTPError):
        kari.create_repo("ola/y")
    assert kari.create_commit("ola/x", add(), commit_message="x", create_pr=True).pr_num == 1
    with pytest.raises(HfHubHTTPError):
        kari.merge_pull_request("ola/x", 1)
    assert hub.head("ola/x") == head


def test_a_fine_grained_token_writes_where_it_says(hub: LocalHub) -> None:
    hub.add_user("ola", "hf_fine_ola", role="fineGrained", namespaces=["norsk"])
    hub.create_repo("ola/x")
    hub.create_repo("norsk/x")
    fine = as_(hub, "hf_fine_ola")
    fine.auth_check("norsk/x", write=True)
    with pytest.raises(HfHubHTTPError):
        fine.auth_check("ola/x", write=True)
    assert fine.whoami()["auth"]["accessToken"]["role"] == "fineGrained"


def test_the_role_in_an_organisation_counts(hub: LocalHub) -> None:
    hub.add_org("norsk", {"kari": "read"})
    hub.create_repo("norsk/x", private=True)
    as_(hub, KARI).auth_check("norsk/x")
    with pytest.raises(HfHubHTTPError):
        as_(hub, KARI).auth_check("norsk/x", write=True)
    assert [(org["name"], org["roleInOrg"]) for org in as_(hub, KARI).whoami()["orgs"]] == [("norsk", "read")]


def test_a_gated_repository_shows_its_files_but_not_their_content(hub: LocalHub, tmp_path: Path) -> None:
    hub.create_repo("norsk/gated", {"a.txt": b"a"}, gated="manual", granted=["leser"])
    hub.add_user("utenfor", "hf_write_utenfor")
    outside = as_(hub, "hf_write_utenfor")
    assert outside.model_info("norsk/gated").gated == "manual"
    with pytest.raises(GatedRepoError) as caught:
        outside.auth_check("norsk/gated")
    assert status(caught) == 403
    with pytest.raises(GatedRepoError):
        outside.hf_hub_download("norsk/gated", "a.txt", cache_dir=tmp_path)
    with pytest.raises(GatedRepoError) as caught:
        as_(hub, False).auth_check("norsk/gated")
    assert status(caught) == 401
    as_(hub, LESER).hf_hub_download("norsk/gated", "a.txt", cache_dir=tmp_path)
    as_(hub, OLA).update_repo_settings("norsk/gated", gated=False)
    outside.auth_check("norsk/gated")


def test_an_unknown_revision_and_an_unknown_file_differ(hub: LocalHub, tmp_path: Path) -> None:
    hub.create_repo("norsk/mini", {"a.txt": b"a"})
    ola = as_(hub, OLA)
    with pytest.raises(RevisionNotFoundError, match="Invalid rev id: nowhere"):
        ola.model_info("norsk/mini", revision="nowhere")
    with pytest.raises(RemoteEntryNotFoundError):
        ola.hf_hub_download("norsk/mini", "b.txt", cache_dir=tmp_path)
    assert ola.file_exists("norsk/mini", "a.txt") is True
    assert ola.file_exists("norsk/mini", "b.txt") is False
    with pytest.raises(RevisionNotFoundError):
        ola.create_commit("norsk/mini", add(), commit_message="x", revision="nowhere")
    with pytest.raises(LocalEntryNotFoundError):
        ola.hf_hub_download("norsk/mini", "a.txt", cache_dir=tmp_path, local_files_only=True)


def test_a_repository_that_exists_answers_409_with_its_address(hub: LocalHub) -> None:
    hub.create_repo("ola/x")
    with pytest.raises(HfHubHTTPError, match="already created this model repo") as caught:
        as_(hub, OLA).create_repo("ola/x")
    assert status(caught) == 409
    assert as_(hub, OLA).create_repo("ola/x", exist_ok=True) == f"{hub.endpoint}/ola/x"


@pytest.mark.parametrize("xet", [True, False], ids=["xet", "lfs"])
def test_the_token_goes_to_the_hub_and_never_to_its_storage(hub: LocalHub, hub_env: dict[str, str], xet: bool) -> None:
    code = """
api.create_repo("ola/x")
api.upload_file(path_or_fileobj=io.BytesIO(b"x" * 100_000), path_in_repo="a.bin", repo_id="ola/x")
result = api.snapshot_download("ola/x")
"""
    run_client(hub_env, code, xet=xet)
    seen = {origin: {r.authorization for r in hub.requests if r.origin == origin} for origin in ("hub", "storage")}
    assert f"Bearer {OLA}" in seen["hub"]
    assert seen["storage"] == {None}


def test_the_storage_wants_its_signature_and_no_token(hub: LocalHub) -> None:
    hub.create_repo("norsk/mini", {"model.safetensors": b"12345"})
    address = f"{hub.endpoint}/norsk/mini/resolve/main/model.safetensors"
    location = get_session().head(address, follow_redirects=False).headers["Location"]
    assert location.startswith(hub.cdn_endpoint) and hub.cdn_endpoint != hub.endpoint
    assert get_session().get(location).content == b"12345"
    assert get_session().get(location, headers={"Range": "bytes=1-2"}).content == b"23"
    assert get_session().get(location.split("?")[0]).status_code == 403
    assert get_session().get(location, headers={"Authorization": f"Bearer {OLA}"}).status_code == 400
