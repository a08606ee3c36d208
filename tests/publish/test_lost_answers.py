"""One publication is one commit, whatever is lost, killed or interrupted on the way."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.hub import LocalHub, RequestRecord
from tests.publish.tools import SOURCE, Patcher, hub_files

COMMIT = "/commit/main"


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
    assert files == expected


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


def test_a_commit_that_did_not_land_is_sent_again(hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str) -> None:
    hub.faults.cut_request("POST", COMMIT, 1000)
    done = patcher("publish", folder, repo_id, "--yes", "--json")
    assert done.code == 0 and done.data["case"] == "committed", done.err
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
