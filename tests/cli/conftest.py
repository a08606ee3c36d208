"""The whole job, run once as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT, user_environment


@pytest.fixture(scope="session")
def verified(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The whole job, run once as a user runs it, with sentence-transformers looking on."""
    place = tmp_path_factory.mktemp("verified")
    out = place / "norbert4-mini-splade"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "patcher", "patch", "tests/snapshots/norbert4-mini", "--out", str(out)),
            *("--trust-remote-code", "--device", "cpu", "--json"),
        ],
        cwd=ROOT,
        env=user_environment(place / "home"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {"out": out, "result": json.loads(done.stdout), "stderr": done.stderr}
