"""After a lost answer or an interruption: whether the commit landed, and what the user is told."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from patcher.errors import AccessDenied
from patcher.publish.outcome import Steps, with_steps
from tests.hub import LocalHub, RequestRecord
from tests.publish.tools import SOURCE, Patcher

COMMIT = "/commit/main"


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
    hub.faults.status("GET", "/revision/main", 503, nth=2, times=0)
    done = patcher("publish", folder, repo_id, "--yes")
    assert done.code == 1 and "can't be asked whether the commit landed" in done.err
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
        ("/resolve/", "after", "was not read back", 2),
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
        if path in request.path and now == phase and not sent and repo_id in request.path + str(repo_id):
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


@pytest.fixture
def outdated(hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str) -> str:
    """A publication whose code somebody changed since."""
    assert patcher("publish", folder, repo_id, "--yes").code == 0
    hub.commit(repo_id, {"modeling_gptbert.py": b"x = 1\n"}, user="ola")
    hub.reset_counters()
    return repo_id


@pytest.mark.parametrize("opened", [True, False])
def test_a_lost_answer_opens_no_second_pull_request(
    hub: LocalHub, patcher: Patcher, folder: Path, outdated: str, opened: bool
) -> None:
    (hub.faults.lose_answer if opened else hub.faults.drop)("POST", "/commit/main")
    done = patcher("publish", folder, outdated, "--yes", "--create-pr", "--json")
    if opened:
        assert done.code == 0 and done.data["case"] == "landed", done.err
    else:
        assert done.code == 1 and "Error: The Hub gave no answer" in done.err
    assert len(hub.pull_requests(outdated)) == (1 if opened else 0)


def test_an_error_says_what_was_done_before_it() -> None:
    error = AccessDenied("No access.", "Log in.")
    assert with_steps(error, Steps()) is error
    made = with_steps(error, Steps(done=["a/b was made and is empty"]))
    assert type(made) is AccessDenied and made.hint == "Log in."
    assert made.message == "No access (a/b was made and is empty; nothing committed)."
    assert with_steps(error, Steps(commit="0123456789")).message == "No access (the commit 0123456 is there)."
