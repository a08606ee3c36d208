"""A Hub with a source model on it, the command, and a patched folder for each test."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.hub import LocalHub, Settings
from tests.hub.fixtures import KARI, LESER, OLA, client_env
from tests.publish.tools import SOURCE, Patcher, passing_report, source_files

WEIGHTS = random.Random(4).randbytes(2_000_000)


@pytest.fixture(scope="session")
def running_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with LocalHub(tmp_path_factory.mktemp("hub")) as running:
        running.add_user("ola", OLA)
        running.add_user("kari", KARI)
        running.add_user("leser", LESER, role="read")
        running.add_org("norsk", {"ola": "admin", "kari": "write"})
        running.add_user("ltg", "hf_write_ltg")
        running.create_repo(SOURCE, source_files(WEIGHTS))
        yield running


@pytest.fixture
def hub(running_hub: LocalHub) -> Iterator[LocalHub]:
    """The Hub without faults, hooks and counts of other tests."""
    running_hub.faults.clear()
    running_hub.reset_counters()
    yield running_hub
    running_hub.on_request = None
    running_hub.faults.clear()
    running_hub._state.refusals.clear()
    running_hub.leave_cards_unparsed(0)
    running_hub._state.settings = Settings()


@pytest.fixture(scope="session")
def patcher(running_hub: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patcher]:
    """The command, as `ola`."""
    scratch = tmp_path_factory.mktemp("client")
    command = Patcher(client_env(running_hub.endpoint, scratch / "home", OLA), scratch)
    yield command
    command.stop()


@pytest.fixture(scope="session")
def patched(patcher: Patcher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A patched folder of the source on the Hub, with a report that passed. Copy it before changing it."""
    out = tmp_path_factory.mktemp("patched") / "model"
    done = patcher("patch", SOURCE, "--out", out, "--no-verify", "--quiet")
    assert done.code == 0, done.err
    passing_report(out)
    assert patcher("card", out).code == 0
    return out


@pytest.fixture
def folder(patched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(patched, tmp_path / "model"))


NUMBERS = count(1)


@pytest.fixture
def repo_id() -> str:
    """A name that no other test uses."""
    return f"ola/model-{next(NUMBERS)}"


@pytest.fixture
def published(hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str) -> str:
    """The folder, published as `repo_id`."""
    assert patcher("publish", folder, repo_id, "--yes").code == 0
    hub.reset_counters()
    return repo_id


@pytest.fixture
def outdated(hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str) -> str:
    """A publication whose code somebody changed since."""
    assert patcher("publish", folder, repo_id, "--yes").code == 0
    hub.commit(repo_id, {"modeling_gptbert.py": b"x = 1\n"}, user="ola")
    hub.reset_counters()
    return repo_id
