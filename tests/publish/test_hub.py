"""What the Hub answers when it does not answer: what is tried again, how long, and what a person reads."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.hub import LocalHub
from tests.hub.fixtures import OLA, client_env
from tests.publish.tools import SOURCE, Patcher, older

COMMIT = "/commit/main"


def assert_readable(err: str) -> None:
    """Two lines at the end, the last a hint; no traceback."""
    lines = err.strip().splitlines()
    assert lines[-2].startswith("Error: ") and lines[-1].startswith("Hint: ") and "Traceback" not in err


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "did not accept the token"),
        (403, "no write access"),
        (404, "is not on the Hub"),
        (409, "is busy with another change"),
        (413, "as too large"),
        (422, "refused a request"),
        (429, "rate limit was reached"),
        (500, "answered 500"),
        (503, "answered 503"),
        (None, "gave no answer"),
    ],
)
@pytest.mark.parametrize("place", [("POST", COMMIT), ("GET", "/whoami-v2"), ("POST", "/repos/create")])
def test_an_error_that_stays_is_told_in_two_lines_and_nothing_is_committed(
    hub: LocalHub,
    patcher: Patcher,
    folder: Path,
    repo_id: str,
    status: int | None,
    message: str,
    place: tuple[str, str],
) -> None:
    if status is None:
        hub.faults.drop(*place, times=0)
    else:
        hub.faults.status(*place, status, times=0)
    done = patcher("publish", folder, repo_id, "--yes")
    assert done.code == 3
    if not (place[1] == "/repos/create" and status == 409):  # there it means that the repository exists
        assert message in done.err, done.err
    assert_readable(done.err)
    assert not hub.exists(repo_id) or len(hub.commits(repo_id)) == 1
    if place[1] == COMMIT:
        assert "was created and is empty; nothing committed" in done.err
        hub.faults.clear()
        done = patcher("publish", folder, repo_id, "--yes", "--quiet")
        assert done.code == 0 and len(hub.commits(repo_id)) == 2, done.err


@pytest.mark.parametrize("path", ["/whoami-v2", "/repos/create", "/lfs-files/duplicate", "/validate-yaml", COMMIT])
@pytest.mark.parametrize("fault", ["429", "503", "drop"])
def test_one_bad_answer_is_tried_again_and_said(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str, path: str, fault: str
) -> None:
    if fault == "drop":
        hub.faults.drop(".*", path)
    else:
        hub.faults.status(".*", path, int(fault))
    done = patcher("publish", folder, repo_id, "--yes", "--json")
    assert done.code == 0 and done.data["case"] == "committed", done.err
    said = "did not answer" if fault == "drop" else f"answered {fault}"
    assert f"The Hub {said}; trying again in 1 s (2 of 4)." in done.err
    assert len(hub.commits(repo_id)) == 2


@pytest.mark.parametrize("header", [{"Retry-After": "7"}, {"RateLimit": '"api";r=0;t=7'}])
def test_the_wait_that_the_hub_asks_for_is_kept(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str, header: dict[str, str]
) -> None:
    hub.faults.status("POST", COMMIT, 429, headers=header)
    done = patcher("publish", folder, repo_id, "--yes")
    assert done.code == 0 and "The Hub answered 429; trying again in 7 s (2 of 4)." in done.err


LONG_WAITS = [
    ("GET", "/whoami-v2", 429, {"Retry-After": "9999"}),
    ("GET", "/tree/", 503, {"Retry-After": "9999"}),
    ("POST", "/preupload/", 429, {"Retry-After": "9999"}),
    ("POST", "/lfs-files/duplicate", 429, {"RateLimit": '"api";r=0;t=9999'}),
    ("POST", COMMIT, 500, {"Retry-After": "9" * 30}),
    ("GET", "/resolve", 429, {"Retry-After": "9999"}),
    ("GET", "/discussions", 408, {"Retry-After": "9999"}),
]


@pytest.mark.parametrize(("method", "path", "status", "headers"), LONG_WAITS)
def test_no_request_waits_for_hours_because_the_hub_says_so(
    hub: LocalHub,
    patcher: Patcher,
    folder: Path,
    outdated: str,
    method: str,
    path: str,
    status: int,
    headers: dict[str, str],
) -> None:
    hub.commit(outdated, {"model.safetensors": None}, user="ola")
    hub.faults.status(method, path, status, headers=headers, times=0)
    start = time.monotonic()
    words = ("--create-pr", "--upload-weights") if path == "/discussions" else ()
    done = patcher("publish", folder, outdated, "--yes", "--timeout", "5", *words)
    assert done.code == 3 and hub.faults.fired, done.err
    assert_readable(done.err)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/tree/", "[]", ("check", "REPO")),
        ("/tree/", "[]", ("publish", "FOLDER", "REPO", "--dry-run")),
        ("/tree/", "[]", ("plan", "REPO")),
        (
            "/discussions",
            '{"discussions": [], "count": 99999, "start": 0}',
            ("publish", "FOLDER", "REPO", "--create-pr"),
        ),
    ],
    ids=["check", "publish", "plan", "pull request"],
)
def test_a_listing_without_an_end_is_left(
    hub: LocalHub, patcher: Patcher, folder: Path, published: str, path: str, body: str, words: tuple[str, ...]
) -> None:
    again = f'<{hub.endpoint}/api/models/{published}/tree/main>; rel="next"'
    hub.faults.status("GET", path, 200, body=body, headers={"Link": again}, times=0)
    names = {"REPO": published, "FOLDER": str(folder)}
    done = patcher(*(names.get(word, word) for word in words))
    assert done.code == 3 and f"listing for {published}" in done.err and "has no end" in done.err, done.err
    assert_readable(done.err)


def test_the_write_token_of_xet_is_not_waited_for_longer_than_the_limit(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    hub.faults.status("GET", "/xet-write-token/", 429, headers={"Retry-After": "9999"}, times=0)
    start = time.monotonic()
    done = patcher("publish", folder, repo_id, "--yes", "--timeout", "2", "--upload-weights")
    assert done.code == 3 and hub.faults.fired, done.err
    assert_readable(done.err)
    assert len(hub.faults.fired) <= 8, "four tries, in each of which hf_xet asks twice"
    assert time.monotonic() - start < 20


def test_the_read_token_of_xet_is_not_waited_for_at_all_where_the_hub_asks_for_hours(
    hub: LocalHub, patcher: Patcher, tmp_path: Path
) -> None:
    hub.faults.status("GET", "/xet-read-token/", 429, headers={"Retry-After": "9999"}, times=0)
    start = time.monotonic()
    done = patcher("patch", SOURCE, "--out", tmp_path / "out", "--no-verify", env={"HF_HOME": str(tmp_path)})
    assert done.code == 3 and "rate limit was reached" in done.err, done.err
    assert_readable(done.err)
    assert len(hub.faults.fired) == 1 and time.monotonic() - start < 20, "the first answer ends it"


@pytest.mark.parametrize("command", ["plan", "check"])
def test_reading_does_not_wait_for_hours_either(
    hub: LocalHub, patcher: Patcher, published: str, tmp_path: Path, command: str
) -> None:
    hub.faults.status("GET", "/tree/|/resolve", 429, headers={"Retry-After": "9999"}, times=0)
    start = time.monotonic()
    done = patcher(command, published, env={"HF_HOME": str(tmp_path)})
    assert done.code == 3 and "rate limit was reached" in done.err and hub.faults.fired, done.err
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(("path", "most"), [("/tree/", 4), ("/preupload/", 4), ("/resolve", 32)])
def test_the_retries_of_the_client_do_not_multiply_those_of_the_policy(
    hub: LocalHub, patcher: Patcher, folder: Path, published: str, path: str, most: int
) -> None:
    older(hub, published)
    hub.faults.status(".*", path, 503, times=0)
    done = patcher("publish", folder, published, "--yes")
    assert done.code == 3 and "answered 503" in done.err, done.err
    assert len(hub.faults.fired) <= most  # files are read in 8 threads


def test_a_wait_of_an_hour_ends_the_command(hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str) -> None:
    hub.faults.status("GET", "/whoami-v2", 429, headers={"Retry-After": "3600"}, times=0)
    done = patcher("publish", folder, repo_id, "--yes")
    assert done.code == 3 and "rate limit was reached" in done.err and len(hub.requests) == 1


@pytest.mark.parametrize("path", ["/whoami-v2", "/repos/create", "/tree/", "/preupload/", "/validate-yaml", COMMIT])
def test_no_call_waits_longer_than_its_limit(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str, path: str
) -> None:
    hub.faults.delay(".*", path, 20.0)
    start = time.monotonic()
    done = patcher("publish", folder, repo_id, "--yes", "--timeout", "0.5", "--json")
    assert done.code == 0, done.err
    assert time.monotonic() - start < 8
    assert len(hub.commits(repo_id)) == 2


def test_the_command_as_users_start_it_has_the_limit(hub: LocalHub, folder: Path, repo_id: str, tmp_path: Path) -> None:
    hub.faults.delay("GET", "/whoami-v2", 30.0)
    words = [sys.executable, "-m", "patcher", "publish", str(folder), repo_id, "--dry-run", "--timeout", "0.5"]
    env = client_env(hub.endpoint, tmp_path / "home", OLA)
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=25, check=False)
    assert done.returncode == 0 and "The Hub did not answer; trying again" in done.stderr, done.stderr


def test_a_library_call_leaves_the_client_of_the_process_alone(tmp_path: Path) -> None:
    code = (
        "from huggingface_hub import get_session; from patcher.errors import PatcherError\n"
        "from patcher.publish import RetryPolicy, check\n"
        "from patcher.source.request_limit import REQUEST_LIMIT as limit\n"
        "session = get_session()\n"
        "try: check('ola/none', retry=RetryPolicy(0.5))\n"
        "except PatcherError: print(session is get_session(), limit.seconds, type(session).__name__)"
    )
    env = client_env("http://127.0.0.1:9", tmp_path / "home", OLA)
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "True 60.0 Client\n", done.stderr


def test_two_repositories_made_at_a_time_do_not_end_in_a_storm(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    body = '{"error": "Cannot create repo: another conflicting operation is in progress"}'
    hub.faults.status("POST", "/repos/create", 409, times=0, body=body)
    done = patcher("publish", folder, repo_id, "--yes")
    assert done.code == 3 and "is busy with another change" in done.err
    assert sum(one.path == "/api/repos/create" for one in hub.requests) == 4


def test_a_traceback_is_shown_only_when_asked_for(hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str) -> None:
    hub.faults.status("POST", COMMIT, 403)
    assert "Traceback" in patcher("publish", folder, repo_id, "--yes", env={"HF_DEBUG": "1"}).err


def test_offline_is_said(hub: LocalHub, folder: Path, tmp_path: Path) -> None:
    # The client reads this variable when it is imported, so a process of its own is needed.
    env = client_env(hub.endpoint, tmp_path / "home", OLA) | {"HF_HUB_OFFLINE": "1"}
    words = [sys.executable, "-m", "patcher", "publish", str(folder), "ola/model", "--yes"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3 and "HF_HUB_OFFLINE is set" in done.stderr and hub.requests == []
