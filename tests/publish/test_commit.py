"""One publication is one commit, whatever is lost, killed or interrupted on the way."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patcher.documents.card import is_sealed
from patcher.errors import AccessDenied
from patcher.patching.record import load
from patcher.publish.commit import COMMITTED, Publication, Steps, with_steps
from patcher.publish.plan import NEW, PublishPlan
from patcher.publish.preflight import Account
from patcher.publish.publishable import patched as publishable
from patcher.publish.target import Target
from tests.hub import LocalHub, RequestRecord
from tests.hub.faults import Fault
from tests.hub.fixtures import KARI
from tests.publish.tools import SOURCE, Patcher, hub_files, older, passing_report, source_files, writes

COMMIT = "/commit/main"
ACCOUNT = Account("ola", frozenset({"ola"}))


@pytest.fixture
def right(patcher: Patcher, hub: LocalHub, folder: Path, repo_id: str) -> dict[str, bytes]:
    """What an undisturbed publication holds."""
    assert patcher("publish", folder, f"{repo_id}-right", "--yes", "--tag", "v1").code == 0
    hub.reset_counters()
    return hub_files(hub, f"{repo_id}-right")


def assert_right(hub: LocalHub, repo_id: str, right: dict[str, bytes]) -> None:
    """Exactly one commit on top of the one the Hub makes, with the right content."""
    assert len(hub.commits(repo_id)) == 2, [one.title for one in hub.commits(repo_id)]
    files = hub_files(hub, repo_id)
    card, expected = files.pop("README.md"), dict(right)
    assert card.startswith(b"---\n") and len(card) > 1000 and expected.pop("README.md")
    page = files.pop("report.html")  # titled after the repository, as the card is
    assert f"<title>{repo_id.rpartition('/')[2]}".encode() in page and expected.pop("report.html")
    assert files == expected


def test_a_commit_that_did_not_land_is_sent_again(hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str) -> None:
    hub.faults.cut_request("POST", COMMIT, 1000)
    done = patcher("publish", folder, repo_id, "--yes", "--json")
    assert done.code == 0 and done.data["case"] == "committed", done.err
    assert len(hub.commits(repo_id)) == 2


@pytest.mark.parametrize("path", ["/repos/create", "/branch/next", "/tag/", "/lfs-files/duplicate", "/commit/next"])
def test_the_lost_answer_of_any_write_is_survived(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str, path: str
) -> None:
    hub.faults.lose_answer("POST", path)
    done = patcher("publish", folder, repo_id, "--yes", "--tag", "v1", "--revision", "next")
    assert done.code == 0 and len(hub.faults.fired) == 1, done.err
    assert len(hub.commits(repo_id, "next")) == 2 and hub.tags(repo_id) == {"v1": hub.head(repo_id, "next")}


def test_a_kill_at_any_request_and_a_repeat_make_exactly_one_commit(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str, right: dict[str, bytes]
) -> None:
    words = ("--yes", "--quiet", "--tag", "v1")
    landed = []

    def boundary(number: int, phase: str) -> bool:
        """Kill at that request, repeat, and say whether there was such a request."""
        name, killed = f"{repo_id}-{phase}-{number}", []

        def kill(request: RequestRecord, now: str) -> bool:
            if (request.number, now) != (number, phase) or killed:
                return False
            killed.append(request)
            os.kill(patcher.last_pid, signal.SIGKILL)
            return True

        hub.reset_counters()
        hub.on_request = kill
        first = patcher("publish", folder, name, *words)
        hub.on_request = None
        assert first.code == (-signal.SIGKILL if killed else 0), first.err
        landed.append(hub.exists(name) and len(hub.commits(name)) == 2)
        again = patcher("publish", folder, name, *words)
        assert again.code == 0, (number, phase, again.err)
        assert_right(hub, name, right)
        assert hub.tags(name) == {"v1": hub.head(name)}
        return bool(killed)

    number = 1
    # "after": the request had its effect and the answer was not heard; for reads "before" is the same boundary.
    while boundary(number, "after"):
        writes = hub.requests and any(one.number == number and one.method == "POST" for one in hub.requests)
        assert not writes or boundary(number, "before")
        number += 1
    assert number > 15 and True in landed and False in landed


def test_who_may_not_write_uploads_the_weights_into_a_pull_request(
    hub: LocalHub, patcher: Patcher, folder: Path, outdated: str
) -> None:
    hub.commit(outdated, {"model.safetensors": None}, user="ola")
    done = patcher("publish", folder, outdated, "--yes", "--create-pr", "--json", env={"HF_TOKEN": KARI})
    assert done.code == 0, done.err
    assert "The Hub refused to copy the weights" in done.err
    assert hub.pull_requests(outdated)[0].author == "kari"
    assert hub.read(outdated, "model.safetensors", "refs/pr/1") == (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("moment", ["/revision/main", "/preupload/", "/commit/main"])
def test_a_race_ends_with_an_error_and_an_unchanged_target(
    hub: LocalHub, patcher: Patcher, folder: Path, published: str, moment: str
) -> None:
    older(hub, published)
    theirs: list[str] = []

    def interfere(request: object, phase: str) -> None:
        if phase == "before" and moment in getattr(request, "path", "") and not theirs:
            theirs.append(hub.commit(published, {"hers.txt": b"quicker"}))

    hub.on_request = interfere
    done = patcher("publish", folder, published, "--yes")
    assert done.code == 3 and "was changed by somebody else meanwhile" in done.err, done.err
    assert [hub.head(published)] == theirs


def test_a_missing_tag_is_put_on_what_is_there_already(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    assert patcher("publish", folder, repo_id, "--yes", "--tag", "v1").code == 0
    head = hub.head(repo_id)
    hub.repo(repo_id).tags.clear()
    done = patcher("publish", folder, repo_id, "--yes", "--tag", "v1", "--json")
    assert done.code == 0 and done.data["case"] == "nothing to do"
    assert hub.tags(repo_id) == {"v1": head} and hub.head(repo_id) == head


def test_a_card_that_the_hub_refuses_is_told_before_anything_is_uploaded(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    card = (
        (folder / "README.md")
        .read_text("utf-8")
        .replace("library_name:", "base_model_relation: nonsense\nlibrary_name:")
    )
    card = card.replace("base_model_relation: finetune\n", "")
    (folder / "README.md").write_text(card, "utf-8")
    done = patcher("publish", folder, repo_id, "--yes")
    assert done.code == 3 and "base_model_relation" in done.err and "Fix the metadata" in done.err
    assert len(hub.commits(repo_id)) == 1


def refuse(hub: LocalHub) -> None:
    hub.refuse_duplicate(source=SOURCE, error="objects live in another region")


def gate(hub: LocalHub) -> None:
    hub.repo(SOURCE).gated = "manual"


def fail(hub: LocalHub) -> None:
    hub.faults.status("POST", "/lfs-files/duplicate", 400, times=0)


def hide(hub: LocalHub) -> None:
    hub.repo(SOURCE).private = True


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (refuse, "objects live in another region"),
        (gate, "is not allowed to copy from the source"),
        (fail, "it answered 400"),
        (hide, f"No model repository {SOURCE} on the Hub, or it is private"),
    ],
)
def test_a_refused_copy_is_uploaded_and_the_reason_is_said(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str, refusal: object, reason: str
) -> None:
    refusal(hub)  # type: ignore[operator]
    try:
        done = patcher("publish", folder, repo_id, "--yes", "--json", "--from-gated")
    finally:
        hub.repo(SOURCE).gated = hub.repo(SOURCE).private = False
    assert done.code == 0, done.err
    assert any(reason in note for note in done.data["plan"]["notes"])
    assert hub.read(repo_id, "model.safetensors") == (folder / "model.safetensors").read_bytes()
    assert len(hub.commits(repo_id)) == 2
    assert done.data["plan"]["bytes_copied"] == 0


def test_a_gated_source_is_published_for_everybody_only_by_name(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    gate(hub)
    try:
        shown = patcher("publish", folder, repo_id, "--dry-run")
        refused = patcher("publish", folder, repo_id, "--yes")
        private = patcher("publish", folder, f"{repo_id}-private", "--yes", "--private")
        named = patcher("publish", folder, f"{repo_id}-named", "--yes", "--from-gated")
    finally:
        hub.repo(SOURCE).gated = False
    assert shown.code == 0 and f"{SOURCE} is gated: making this public needs --from-gated" in shown.out
    assert refused.code == 3 and f"{SOURCE} is gated" in refused.err and not hub.exists(repo_id)
    assert private.code == named.code == 0, private.err + named.err


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503},
        {"status": 429, "times": 1, "headers": {"Retry-After": "300"}},
        {"status": 200, "times": 1, "body": "null"},
        {"status": 403},
        {"status": 404, "headers": {"X-Error-Code": "RepoNotFound"}},
    ],
    ids=lambda fault: fault["status"],
)
def test_a_source_of_which_the_hub_does_not_say_who_can_read_it_is_published_for_everybody_only_by_name(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str, fault: dict[str, Any]
) -> None:
    hub.faults.add(Fault("GET", f"/api/models/{SOURCE}$", **{"times": 0, **fault}))
    refused = patcher("publish", folder, repo_id, "--yes")
    assert refused.code == 3 and f"did not say whether {SOURCE} is gated" in " ".join(refused.err.split()), refused.err
    assert writes(hub) == [] and not hub.exists(repo_id)
    if fault.get("times") != 1:
        assert patcher("publish", folder, repo_id, "--yes", "--private").code == 0
        assert patcher("publish", folder, f"{repo_id}-named", "--yes", "--from-gated").code == 0


def test_a_private_source_is_published_for_everybody_only_by_name(
    hub: LocalHub, patcher: Patcher, repo_id: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    hub.create_repo("norsk/secret", source_files(b"w" * 1000), private=True)
    assert patcher("patch", "norsk/secret", "--out", out, "--no-verify").code == 0
    passing_report(out)
    assert patcher("card", out).code == 0
    refused = patcher("publish", out, repo_id, "--yes")
    assert refused.code == 3 and "norsk/secret is private, but" in refused.err and not hub.exists(repo_id), refused.err
    named = patcher("publish", out, f"{repo_id}-named", "--yes", "--from-gated")
    assert named.code == 0, named.err


@pytest.mark.parametrize("named", [True, False])
def test_a_folder_downloaded_from_a_gated_repository_is_gated_too_if_that_is_named(
    hub: LocalHub, patcher: Patcher, repo_id: str, tmp_path: Path, named: bool
) -> None:
    local, out = tmp_path / "norbert4-tiny", tmp_path / "out"
    local.mkdir()
    for path, content in hub_files(hub, SOURCE).items():
        (local / path).write_bytes(content)
    base_model = ["--base-model", SOURCE] if named else []
    assert patcher("patch", local, "--out", out, "--no-verify", *base_model).code == 0
    passing_report(out)
    assert patcher("card", out).code == 0
    gate(hub)
    try:
        shown = patcher("publish", out, repo_id, "--dry-run")
        done = patcher("publish", out, repo_id, "--yes")
        allowed = patcher("publish", out, f"{repo_id}-named", "--yes", "--from-gated")
    finally:
        hub.repo(SOURCE).gated = False
    assert (f"{SOURCE} is gated: making this public needs --from-gated" in shown.out) is named, shown.out
    assert (done.code, hub.exists(repo_id)) == ((3, False) if named else (0, True)), done.err
    assert allowed.code == 0, allowed.err


def test_a_publication_asks_no_more_than_it_has_to(hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str) -> None:
    assert patcher("publish", folder, repo_id, "--yes", "-q").code == 0
    assert len(hub.requests) == 14, [str(one) for one in hub.requests]
    assert not any("/resolve/" in one.path for one in hub.requests)
    hub.reset_counters()
    assert patcher("publish", folder, repo_id, "--yes", "-q").code == 0
    assert len(hub.requests) == 9, [str(one) for one in hub.requests]


def test_weights_that_the_hub_copies_are_not_read_here(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    """The source lists their hash; what lies in the folder is not sent."""
    (folder / "model.safetensors").write_bytes(b"\0" * 2_000_000)
    assert patcher("publish", folder, repo_id, "--yes").code == 0
    assert hub.files(repo_id)["model.safetensors"].sha256 == hub.files(SOURCE)["model.safetensors"].sha256
    sent = patcher("publish", folder, f"{repo_id}-2", "--yes", "--upload-weights")
    assert sent.code == 3 and "model.safetensors is no longer the file" in sent.err
    refuse(hub)
    refused = patcher("publish", folder, f"{repo_id}-3", "--yes")
    assert refused.code == 3 and "model.safetensors is no longer the file" in refused.err, refused.err


def test_where_neither_a_copy_nor_an_upload_is_possible_nothing_is_committed(
    hub: LocalHub, patcher: Patcher, tmp_path: Path, repo_id: str
) -> None:
    out = tmp_path / "code"
    assert patcher("patch", SOURCE, "--out", out, "--no-verify", "--code-only", "-q").code == 0
    refuse(hub)
    done = patcher("publish", out, repo_id, "--yes", "--unverified")
    assert done.code == 3 and "objects live in another region" in done.err and "--code-only" in done.err
    assert len(hub.commits(repo_id)) == 1
    hub._state.refusals.clear()
    assert patcher("publish", out, repo_id, "--yes", "--unverified").code == 0
    upload = patcher("publish", out, f"{repo_id}-2", "--yes", "--unverified", "--upload-weights")
    assert upload.code == 3 and "is not in" in upload.err and not hub.exists(f"{repo_id}-2")


def test_one_commit_copies_the_weights_and_uploads_kilobytes(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    done = patcher("publish", folder, repo_id, "--yes", "--json")
    assert done.code == 0, done.err
    assert [one.title for one in hub.commits(repo_id)][:-1] == [f"Publish {SOURCE} without the logit cap"]
    assert hub.files(repo_id)["model.safetensors"].sha256 == hub.files(SOURCE)["model.safetensors"].sha256
    assert hub.counters.uploaded < 200_000
    assert hub.counters.xet_stored == hub.counters.lfs_uploaded == 0
    assert done.data["case"] == "committed" and done.data["passed"] and done.data["commit"] == hub.head(repo_id)
    there = hub_files(hub, repo_id)
    card = there.pop("README.md").decode()
    assert f'SparseEncoder("{repo_id}"' in card and is_sealed(card)
    page = there.pop("report.html").decode()
    assert f"<title>{repo_id.rpartition('/')[2]}" in page
    drawn = {".gitattributes", "README.md", "report.html"}
    here = {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in drawn}
    assert there == here


def test_upload_weights_sends_them_from_here(hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str) -> None:
    plan = patcher("publish", folder, repo_id, "--dry-run", "--json", "--upload-weights").data
    assert plan["bytes_copied"] == 0 and plan["bytes_uploaded"] > 2_000_000
    done = patcher("publish", folder, repo_id, "--yes", "--upload-weights")
    assert done.code == 0, done.err
    assert hub.read(repo_id, "model.safetensors") == (folder / "model.safetensors").read_bytes()
    assert not any("duplicate" in one.path for one in hub.requests)


def test_private_message_tag_and_branch_arrive(hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str) -> None:
    words = ("--private", "--tag", "v1", "--commit-message", "First words", "--revision", "next")
    done = patcher("publish", folder, repo_id, "--yes", "--json", *words)
    assert done.code == 0, done.err
    assert hub.repo(repo_id).private
    assert [one.title for one in hub.commits(repo_id, "next")][:-1] == ["First words"]
    assert hub.tags(repo_id) == {"v1": hub.head(repo_id, "next")}
    assert 'revision="v1"' in hub.read(repo_id, "README.md", "next").decode()
    assert "patch.json" not in hub.files(repo_id)


def test_a_lost_answer_is_found_by_reading_the_head(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    hub.faults.lose_answer("POST", COMMIT)
    done = patcher("publish", folder, repo_id, "--yes", "--json")
    assert done.code == 0 and done.data["case"] == "landed", done.err
    assert done.data["commit"] == hub.head(repo_id) and len(hub.commits(repo_id)) == 2


@pytest.mark.parametrize("after", [0, 40])
def test_half_an_answer_is_a_lost_answer(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str, after: int
) -> None:
    hub.faults.cut_answer("POST", COMMIT, after)
    done = patcher("publish", folder, repo_id, "--yes")
    assert done.code == 0 and "the response of the Hub was lost" in done.out, done.err
    assert len(hub.commits(repo_id)) == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [
        *((200, body) for body in ("{}", "[]", "null", "<html>fine</html>", '{"commitUrl": "http', "")),
        (200, '{"commitUrl": "HUB/ola/x/commit/1", "pullRequestUrl": "HUB/ola/x/discussions/1", "commitOid": null}'),
        (200, '{"commitUrl": "HUB/ola/x/commit/1", "pullRequestUrl": "HUB/ola/x/discussions/1", "commitOid": "main"}'),
        (204, ""),
        (405, "<html>a proxy</html>"),
        (499, ""),
        (500, "{}"),
    ],
)
@pytest.mark.parametrize("pull_request", [False, True])
def test_an_answer_that_says_nothing_is_no_refusal(
    hub: LocalHub, patcher: Patcher, folder: Path, outdated: str, status: int, body: str, pull_request: bool
) -> None:
    before = len(hub.commits(outdated))
    hub.faults.status("POST", COMMIT, status, body=body.replace("HUB", hub.endpoint), works=True)
    words = ("--create-pr",) if pull_request else ()
    done = patcher("publish", folder, outdated, "--yes", "--json", *words)
    assert done.code == 0 and done.data["case"] == "landed", done.err
    revision = "refs/pr/1" if pull_request else "main"
    assert done.data["commit"] == hub.head(outdated, revision) and len(hub.commits(outdated, revision)) == before + 1
    assert len(hub.pull_requests(outdated)) == pull_request


@pytest.mark.parametrize("body", ["{}", "null", "<html>fine</html>"])
@pytest.mark.parametrize("path", ["/repos/create", "/branch/next", "/tag/"])
def test_what_is_made_is_read_back_whatever_the_answer_says(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str, path: str, body: str
) -> None:
    words = ("publish", folder, repo_id, "--yes", "--tag", "v1", "--revision", "next")
    hub.faults.status("POST", path, 200, body=body, times=0)  # and nothing is done
    done = patcher(*words)
    assert done.code == 3 and "Traceback" not in done.err, done.err
    assert ("the commit" in done.err) == (path == "/tag/")
    hub.faults.clear()
    hub.faults.status("POST", path, 200, body=body, works=True)
    done = patcher(*words)
    assert done.code == 0 and hub.tags(repo_id) == {"v1": hub.head(repo_id, "next")}, done.err


def test_a_commit_that_its_branch_does_not_have_is_no_publication(
    hub: LocalHub, patcher: Patcher, folder: Path, outdated: str
) -> None:
    """The Hub names the commit of a pull request with the right content, and leaves main as it was."""
    assert patcher("publish", folder, outdated, "--yes", "--create-pr", env={"HF_TOKEN": KARI}).code == 0
    commit = hub.head(outdated, "refs/pr/1")
    body = {"commitUrl": f"{hub.endpoint}/{outdated}/commit/{commit}", "commitOid": commit}
    hub.faults.status("POST", COMMIT, 200, body=json.dumps(body))
    done = patcher("publish", folder, outdated, "--yes", "--json")
    assert done.code == 1, done.err
    assert {one["name"] for one in done.data["findings"] if not one["passed"]} == {"commit_there"}


def test_a_commit_that_landed_is_found_below_a_newer_one(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    def follow(request: RequestRecord, phase: str) -> bool:
        if phase == "after" and request.path.endswith(COMMIT):
            hub.commit(repo_id, {"hers.txt": b"x"})
            return True
        return False

    hub.on_request = follow
    done = patcher("publish", folder, repo_id, "--yes", "--json")
    assert done.code == 0 and done.data["case"] == "landed", done.err
    assert done.data["commit"] == hub.commits(repo_id)[1].oid and len(hub.commits(repo_id)) == 3


def test_where_the_head_can_not_be_read_either_nothing_is_claimed(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    hub.faults.lose_answer("POST", COMMIT)
    hub.faults.status("GET", "/revision/main", 503, times=0)
    done = patcher("publish", folder, repo_id, "--yes")
    assert done.code == 3 and "can't be asked whether the commit landed" in done.err
    hub.faults.clear()
    again = patcher("publish", folder, repo_id, "--yes", "--json")
    assert again.code == 0 and again.data["case"] == "nothing to do" and len(hub.commits(repo_id)) == 2


@pytest.mark.parametrize(
    ("path", "phase", "message", "commits"),
    [
        ("/whoami-v2", "before", "Interrupted", 0),
        ("/preupload/", "before", "nothing was committed", 1),
        (COMMIT, "after", "is on", 2),
        ("/tag/", "after", "is on", 2),
        ("/tree/", "after", "was not read back", 2),
    ],
)
def test_ctrl_c_says_what_was_and_was_not_done(
    hub: LocalHub,
    patcher: Patcher,
    folder: Path,
    repo_id: str,
    path: str,
    phase: str,
    message: str,
    commits: int,
) -> None:
    sent = []

    def interrupt(request: RequestRecord, now: str) -> None:
        seen = path in request.path and (path != "/tree/" or (hub.exists(repo_id) and len(hub.commits(repo_id)) == 2))
        if seen and now == phase and not sent and repo_id in request.path + str(repo_id):
            sent.append(request)
            os.kill(patcher.last_pid, signal.SIGINT)

    hub.on_request = interrupt
    done = patcher("publish", folder, repo_id, "--yes", "--tag", "v1")
    hub.on_request = None
    assert done.code == 130 and message in done.err and "Traceback" not in done.err, done.err
    assert (len(hub.commits(repo_id)) if hub.exists(repo_id) else 0) == commits
    again = patcher("publish", folder, repo_id, "--yes", "--tag", "v1")
    assert again.code == 0 and len(hub.commits(repo_id)) == 2, again.err
    assert hub.files(repo_id)["model.safetensors"] == hub.files(SOURCE)["model.safetensors"]


@pytest.mark.parametrize("opened", [True, False])
def test_a_lost_answer_opens_no_second_pull_request(
    hub: LocalHub, patcher: Patcher, folder: Path, outdated: str, opened: bool
) -> None:
    (hub.faults.lose_answer if opened else hub.faults.drop)("POST", "/commit/main")
    done = patcher("publish", folder, outdated, "--yes", "--create-pr", "--json")
    if opened:
        assert done.code == 0 and done.data["case"] == "landed", done.err
    else:
        assert done.code == 3 and "Error: The Hub gave no answer" in done.err
    assert len(hub.pull_requests(outdated)) == (1 if opened else 0)


def test_an_error_says_what_was_done_before_it() -> None:
    error = AccessDenied("No access.", "Log in.")
    assert with_steps(error, Steps()) is error
    made = with_steps(error, Steps(done=["a/b was created and is empty"]))
    assert type(made) is AccessDenied and made.hint == "Log in."
    assert made.message == "No access (a/b was created and is empty; nothing committed)."
    assert with_steps(error, Steps(commit="0123456789")).message == "No access (the commit 0123456 is there)."


@pytest.mark.parametrize(
    ("auto_class", "encoders", "dense", "loader"),
    [
        ("AutoModelForMaskedLM", (), False, "AutoModelForMaskedLM"),
        ("AutoModelForSequenceClassification", (), False, "AutoModelForSequenceClassification"),
        ("AutoModelForCausalLM", (), True, "AutoModelForCausalLM"),
        ("AutoModel", (), False, "AutoModel"),
        ("AutoModel", (), True, "SentenceTransformer"),
        ("AutoModelForMaskedLM", ("",), True, "SparseEncoder"),
    ],
)
def test_what_is_printed_loads_the_class_that_the_weights_are_for(
    patched: Path, auto_class: str, encoders: tuple[str, ...], dense: bool, loader: str
) -> None:
    model = load(patched)
    modules = (replace(model.files[0], path="modules.json"),) * dense
    model = replace(model, auto_class=auto_class, encoders=encoders, files=(*model.files, *modules))
    plan = PublishPlan(Target("ola/m"), ACCOUNT, NEW, (), (), {}, (), "", publishable(model), "", "", "")
    first, *_, last = Publication(COMMITTED, "c" * 40, None, plan=plan).usage.splitlines()
    load_with = f"{loader}.from_pretrained" if loader == auto_class else loader
    assert last == f'model = {load_with}("ola/m", revision="{"c" * 40}", trust_remote_code=True)'
    assert first in (f"from transformers import {loader}, AutoTokenizer", f"from sentence_transformers import {loader}")
