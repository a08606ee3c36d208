"""The miniature, verified once by the road that users take: it passes, and it fails a limit that is too high for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from patcher.patching.record import PatchedModel, load
from patcher.pipeline.folder import verify_folder
from patcher.verify.report import Report
from patcher.verify.settings import Verification
from patcher.verify.texts import load_probe_texts

TOO_HIGH = 0.99985


@pytest.fixture(scope="session")
def verified(patched_once: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    return _verified(patched_once, tmp_path_factory.mktemp("passed"), 0.98)


@pytest.fixture(scope="session")
def failed(patched_once: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    return _verified(patched_once, tmp_path_factory.mktemp("failed"), TOO_HIGH)


@pytest.fixture
def model(verified: tuple[Path, Report]) -> PatchedModel:
    return load(verified[0])


def _verified(patched: Path, place: Path, limit: float) -> tuple[Path, Report]:
    folder = Path(shutil.copytree(patched, place / f"norbert4-mini-{place.name}"))
    wanted = Verification(load_probe_texts(), ("cpu",), min_logit_sparsity=limit)
    return folder, verify_folder(folder, wanted)
