"""One round that means the same on the local Hub and on the true one.

`PATCHER_TEST_HUB_TO=user/name` (a name that is free) and a token let it run on the Hub that HF_ENDPOINT names; the
repository is private and removed at the end. `PATCHER_TEST_HUB_SOURCE` is what is patched; its weights are never moved.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from tests.hub import LocalHub
from tests.hub.fixtures import OLA, client_env
from tests.publish.tools import SOURCE

TO = os.environ.get("PATCHER_TEST_HUB_TO", "")
FROM = os.environ.get("PATCHER_TEST_HUB_SOURCE", "ltg/norbert4-xsmall")


def round_trip(source: str, target: str, out: Path, env: dict[str, str]) -> None:
    """Patch, publish, publish again, check."""

    def run(*words: str) -> tuple[int, dict[str, object]]:
        command = [sys.executable, "-m", "patcher", *words, "--json"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    assert run("patch", source, "--out", str(out), "--no-verify", "--code-only")[0] == 0
    code, first = run("publish", str(out), target, "--yes", "--unverified", "--private", "--tag", "v1")
    assert code == 0 and first["case"] == "committed" and first["passed"], first
    assert first["plan"]["bytes_copied"] > first["plan"]["bytes_uploaded"] // 4  # type: ignore[index]
    code, second = run("publish", str(out), target, "--yes", "--unverified", "--tag", "v1")
    assert code == 0 and second["case"] == "nothing to do" and second["commit"] == first["commit"], second
    _, checked = run("check", f"{target}@v1")
    findings = {one["name"]: one["passed"] for one in checked["findings"]}  # type: ignore[attr-defined]
    assert all(findings[name] for name in ("source_there", "code_equal", "weights_equal", "files_equal")), checked


def test_a_round_on_the_local_hub(hub: LocalHub, tmp_path: Path, repo_id: str) -> None:
    round_trip(SOURCE, repo_id, tmp_path / "out", client_env(hub.endpoint, tmp_path / "home", OLA))


@pytest.mark.hub
@pytest.mark.skipif(not TO, reason="PATCHER_TEST_HUB_TO names no repository")
def test_the_same_round_on_the_hub_of_the_environment(tmp_path: Path) -> None:
    assert not HfApi().repo_exists(TO), f"{TO} exists: give a name that is free"
    try:
        round_trip(FROM, TO, tmp_path / "out", dict(os.environ))
    finally:
        HfApi().delete_repo(TO, missing_ok=True)
