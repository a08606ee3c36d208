"""Trained-like models: the miniature as a capped SparseEncoder, as it comes out of `save_pretrained`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from patcher.plan import rewrite_code
from tests.conftest import MINI
from tests.threshold import hand_made

CODE = "modeling_gptbert.py"


@pytest.fixture(scope="session")
def loading(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature as a capped SparseEncoder model whose code is repaired. Not to be written to."""
    from sentence_transformers import SparseEncoder

    torch.set_num_threads(2)
    base = shutil.copytree(MINI, tmp_path_factory.mktemp("base") / "repaired-base")
    config = json.loads((base / "config.json").read_text())
    code, _, _ = rewrite_code({path.name: path.read_bytes() for path in base.glob("*.py")}, config, keep_cap=True)
    for name, content in code.items():
        (base / name).write_bytes(content)
    target = tmp_path_factory.mktemp("loading") / "capped-repaired"
    SparseEncoder(str(base), trust_remote_code=True, device="cpu").save_pretrained(str(target))
    return target


@pytest.fixture(scope="session")
def capped_once(loading: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the code as published, as every model trained before transformers 5 has it."""
    target = shutil.copytree(loading, tmp_path_factory.mktemp("capped") / "capped")
    shutil.copyfile(MINI / CODE, target / CODE)
    return target


@pytest.fixture(scope="session")
def hand_made_once(loading: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-made model (see hand_made.py), with the code as published. Not to be written to."""
    target = hand_made.build(loading, tmp_path_factory.mktemp("hand") / "hand-made")
    shutil.copyfile(MINI / CODE, target / CODE)
    return target


@pytest.fixture
def capped(capped_once: Path, tmp_path: Path) -> Path:
    """A capped model that a test may damage, in a folder with a name of its own."""
    return shutil.copytree(capped_once, tmp_path / f"capped-{tmp_path.name}")


@pytest.fixture
def handmade(hand_made_once: Path, tmp_path: Path) -> Path:
    """The hand-made model, to be damaged."""
    return shutil.copytree(hand_made_once, tmp_path / f"hand-{tmp_path.name}")
