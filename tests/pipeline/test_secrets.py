"""A token in the environment or in the token file turns up nowhere but in requests to the Hub."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub import LocalHub
from tests.hub.fixtures import client_env
from tests.publish.tools import SOURCE, Outcome, Patcher, hub_files, passing_report, source_files

TOKEN = "hf_RecognisableSecretToken0123456789"
MODES: tuple[tuple[str, ...], ...] = ((), ("--json",), ("--quiet",))


class Scene:
    """The command in a home whose every file is looked through, and a Hub whose every request is."""

    def __init__(self, hub: LocalHub, root: Path, where: str) -> None:
        self.hub, self.root, self.home, self.where = hub, root, root / "home", where
        self.home.mkdir()
        env = client_env(hub.endpoint, self.home, TOKEN if where == "environment" else None)
        env |= {"HOME": str(self.home), "TMPDIR": str(root / "tmp"), "HF_HUB_DISABLE_PROGRESS_BARS": ""}
        (root / "tmp").mkdir()
        if where == "file":
            (self.home / "token").write_text(TOKEN)
            env["HF_HUB_DISABLE_XET"] = "1"  # uploads then go through signed addresses of the storage
        self.patcher = Patcher(env, root)

    def run(self, *argv: str | Path, debug: bool = False) -> Outcome:
        """Run one command and look at all that it said."""
        done = self.patcher(*argv, env={"HF_DEBUG": "1" if debug else None})
        assert TOKEN not in done.out + done.err, argv
        return done

    def look(self) -> None:
        """Look at all that lies on the disk or on the Hub, and at who was told the token."""
        for path in self.root.rglob("*"):
            if path.is_file() and path != self.home / "token" and "hub" not in path.relative_to(self.root).parts:
                assert TOKEN.encode() not in path.read_bytes(), path
        for repo_id in [key.partition("/")[2] for key in self.hub._state.store.repos]:
            for revision in ["main", *(f"refs/pr/{number}" for number in self.hub.repo(repo_id).pulls)]:
                for path, content in hub_files(self.hub, repo_id, revision).items():
                    assert TOKEN.encode() not in content, (repo_id, path)
                for commit in self.hub.commits(repo_id, revision):
                    assert TOKEN not in commit.title + commit.message
        for request in self.hub.requests:
            if request.origin != "hub":
                assert TOKEN not in str(dict(request.headers)) + request.raw_path, str(request)
            assert TOKEN not in request.raw_path


@pytest.fixture(params=["environment", "file"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    with LocalHub(tmp_path / "hub") as hub:
        hub.add_user("ola", TOKEN)
        hub.add_user("ltg", "hf_other")
        hub.create_repo(SOURCE, source_files(os.urandom(300_000)))
        found = Scene(hub, tmp_path, request.param)
        yield found
        found.patcher.stop()


def test_a_token_is_told_to_nobody_but_the_hub(scene: Scene) -> None:
    hub, out = scene.hub, scene.root / "out"
    for mode in MODES:
        scene.run("plan", SOURCE, *mode)
        shutil.rmtree(out, ignore_errors=True)
        assert scene.run("patch", SOURCE, "--out", out, "--no-verify", *mode).code == 0
        passing_report(out)
        scene.run("card", out, *mode)
        # A child process is started, and fails for want of a real model; it must not have had the token either.
        if scene.where == "environment" or not mode:
            scene.run("verify", out, "--trust-remote-code", "--no-sparse-encoder", "--device", "cpu", *mode)
        name = f"ola/model{len(''.join(mode))}"
        passing_report(out)
        for words in (["--dry-run"], [], ["--yes", "--tag", "v1"], ["--yes"], ["--yes", "--create-pr"]):
            scene.run("publish", out, name, *words, *mode)
        assert scene.run("publish", out, f"{name}-b", "--yes", "--upload-weights", *mode).code == 0
        scene.run("check", name, *mode)
        scene.run("check", "ola/absent", *mode)
    assert any(one.authorization == f"Bearer {TOKEN}" for one in hub.requests)
    assert any(one.origin == "storage" for one in hub.requests) or scene.where == "environment"
    scene.look()


def test_a_token_is_in_no_error(scene: Scene) -> None:
    hub, out = scene.hub, scene.root / "out"
    assert scene.run("patch", SOURCE, "--out", out, "--no-verify").code == 0
    passing_report(out)
    echo = f'{{"error": "the token {TOKEN} is bad"}}'
    number = 0
    for path in ("/whoami-v2", "/commit/main", "/repos/create"):
        for status in (401, 403, 404, 409, 412, 413, 422, 429, 503, None):
            for mode, debug in [((), False), (("--json",), False), (("--quiet",), False)][number % 3 :][:1]:
                hub.faults.clear()
                if status is None:
                    hub.faults.drop(".*", path, times=0)
                else:
                    # A server that repeats what it was told, in the body and in a header.
                    hub.faults.status(".*", path, status, times=0, body=echo, headers={"X-Error-Message": "no"})
                number += 1
                assert scene.run("publish", out, f"ola/model-{number}", "--yes", *mode, debug=debug).code == 3
    hub.faults.clear()
    hub.faults.status(".*", "/commit/main", 403)
    done = scene.run("publish", out, "ola/debug", "--yes", debug=True)
    assert done.code == 3 and "Traceback" in done.err
    hub.faults.clear()
    hub.faults.lose_answer("POST", "/commit/main")
    assert scene.run("publish", out, "ola/lost", "--yes").code == 0
    scene.look()
