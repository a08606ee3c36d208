"""Trained-like models: the miniature as a capped SparseEncoder, as it comes out of `save_pretrained`; made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def loading(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature as a capped SparseEncoder model whose code is repaired. Not to be written to."""
    from tests.threshold.models import write_loading

    return write_loading(tmp_path_factory.mktemp("loading"))


@pytest.fixture(scope="session")
def capped_once(loading: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the code as published, as every model trained before transformers 5 has it."""
    from tests.threshold.models import as_published

    return as_published(shutil.copytree(loading, tmp_path_factory.mktemp("capped") / "capped"))


@pytest.fixture(scope="session")
def hand_made_once(loading: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-made model (see hand_made.py), with the code as published. Not to be written to."""
    from tests.threshold.models import write_hand_made

    return write_hand_made(loading, tmp_path_factory.mktemp("hand") / "hand-made")


@pytest.fixture(scope="session")
def trained_capped_once(loading: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A retriever that was trained through its cap, with the code as published. Not to be written to."""
    return _trained(loading, tmp_path_factory.mktemp("through-cap") / "trained-capped", rescaled=True)


@pytest.fixture(scope="session")
def trained_uncapped_once(patched_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A retriever that was trained without the cap, beside published code that still has it: as a script leaves it
    that removes the cap in memory only. Not to be written to.
    """
    return _trained(patched_once, tmp_path_factory.mktemp("without-cap") / "trained-uncapped", rescaled=False)


def _trained(base: Path, target: Path, *, rescaled: bool) -> Path:
    from tests.threshold.briefly_trained import train
    from tests.threshold.models import as_published

    return as_published(train(base, target, rescaled=rescaled))


@pytest.fixture
def capped(capped_once: Path, tmp_path: Path) -> Path:
    """A capped model that a test may damage, in a folder with a name of its own."""
    return shutil.copytree(capped_once, tmp_path / f"capped-{tmp_path.name}")


@pytest.fixture
def handmade(hand_made_once: Path, tmp_path: Path) -> Path:
    """The hand-made model, to be damaged."""
    return shutil.copytree(hand_made_once, tmp_path / f"hand-{tmp_path.name}")


@pytest.fixture
def trained(capped_once: Path, tmp_path: Path) -> Path:
    """A capped SparseEncoder model with the code as published, in a folder with a name of its own."""
    return shutil.copytree(capped_once, tmp_path / f"trained-{tmp_path.name}")
