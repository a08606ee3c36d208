"""What all tests share: the miniature NorBERT4, patched once, and a home without anybody's token."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from patcher.source.snapshot import MAX_TEXT, File, Snapshot, resolve
from tests.hub.fixtures import hub, hub_env  # noqa: F401 - fixtures for every folder
from tests.retrieval.fixtures import encoded  # noqa: F401
from tests.threshold.fixtures import (  # noqa: F401
    capped,
    capped_once,
    hand_made_once,
    handmade,
    loading,
    trained,
    trained_capped_once,
    trained_uncapped_once,
)

ROOT = Path(__file__).parents[1]
MINI = ROOT / "tests" / "snapshots" / "norbert4-mini"
# The options of a verification on the CPU, without the price of importing sentence-transformers.
ON_CPU = ("--trust-remote-code", "--no-sparse-encoder", "--device", "cpu")
COMMIT = "386ba2dc5ae5f95fec86d580c5fc4af34d380126"

_NAMESPACE = ["unshare", "-rm", "true"]
may_mount = pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(_NAMESPACE, capture_output=True, check=False).returncode != 0,
    reason="mounts in a namespace of its own",
)

# Read once, when huggingface_hub and transformers are imported: before any test does that.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Remote code is cached by folder name: the tests must not meet what another program left there, and all of them share
# one cache, because a process keeps the package `transformers_modules` at the place where it first found it.
os.environ["HF_MODULES_CACHE"] = tempfile.mkdtemp(prefix="patcher-tests-")
atexit.register(shutil.rmtree, os.environ["HF_MODULES_CACHE"], ignore_errors=True)
os.environ["HF_ASSETS_CACHE"] = os.path.join(os.environ["HF_MODULES_CACHE"], "assets")  # hashes of the tests' files


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: tests wait for a third of their time."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    """A copy of the miniature that a test may damage."""
    return shutil.copytree(MINI, tmp_path / "norbert4-mini")


@pytest.fixture(scope="session")
def patched_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature, patched and not verified. Not to be written to."""
    from patcher.pipeline.api import patch_model
    from patcher.planning.plan import make_plan

    snapshot = resolve(str(MINI))
    out = tmp_path_factory.mktemp("patched") / "norbert4-mini-splade"
    return patch_model(make_plan(snapshot), snapshot, out, None).folder


@pytest.fixture
def patched(patched_once: Path, tmp_path: Path) -> Path:
    """A patched miniature that a test may damage.

    Its folder has a name of its own: transformers keeps remote code by the folder's name, also within a process.
    """
    return shutil.copytree(patched_once, tmp_path / f"splade-{tmp_path.name}")


def listing_others(folder: Path, path: str = "model.safetensors") -> Snapshot:
    """A snapshot whose listing has another SHA-256 for a file that is too large to be hashed when it is fetched."""
    snapshot = resolve(str(folder))
    other = File(path, MAX_TEXT + 1, sha256="0" * 64)
    return replace(snapshot, files=tuple(other if file.path == path else file for file in snapshot.files))


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cli(tmp_path: Path) -> Run:
    """Run `python -m patcher` as a user does: own process, own home, no network configuration but what is given."""

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, "-m", "patcher", *map(str, arguments)],
            env=user_environment(home) | environment,
            cwd=environment.pop("cwd", ROOT),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


def user_environment(home: Path) -> dict[str, str]:
    """The environment of a user who has not logged in anywhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    return kept | {
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": str(ROOT),
    }


@pytest.fixture
def hub_cache(tmp_path: Path) -> Path:
    """A Hub cache that holds ltg/norbert4-base at a commit, as `hf download` would have left it."""
    repository = tmp_path / "hub-cache" / "models--ltg--norbert4-base"
    shutil.copytree(MINI, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return repository.parent
