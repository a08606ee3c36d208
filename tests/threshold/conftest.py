"""The hand-made model with a card, saved with a threshold and loaded without one; made once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from patcher.source.snapshot import resolve
from patcher.threshold.repaired import RepairedModel, repair
from patcher.threshold.save import save
from patcher.verify.requests import lay_out
from tests.threshold.made_up import CARD, PASSED, load


@pytest.fixture(scope="session")
def model(hand_made_once: Path, tmp_path_factory: pytest.TempPathFactory) -> RepairedModel:
    """The hand-made model with a card of its own."""
    folder = shutil.copytree(hand_made_once, tmp_path_factory.mktemp("model") / "with-card")
    (folder / "README.md").write_text(CARD, newline="")
    return repair(resolve(str(folder)))


@pytest.fixture(scope="session")
def saved(model: RepairedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with the threshold 0.05. Not to be written to."""
    return save(model, PASSED, tmp_path_factory.mktemp("saved") / "saved-with-threshold")


@pytest.fixture(scope="session")
def plain(model: RepairedModel, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same model without a threshold, loaded right."""
    folder = tmp_path_factory.mktemp("plain") / "without-threshold"
    folder.mkdir()
    lay_out(model.contents(), folder)
    return load(folder)
