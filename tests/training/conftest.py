"""What the training tests share: the scripts of `templates/`, a patched and a capped base, a few training rows."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
import yaml

from tests.conftest import MINI, ROOT
from tests.snapshots.corpus.pairs import Split, pairs
from tests.training.bases import write_bases

# The script finds its two neighbours as Python does: beside itself.
sys.path.insert(0, str(ROOT / "templates"))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """On a machine that others use too, threads that wait for each other cost more than they save."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The miniature `patched` and, `capped`, with the loading repairs alone. Not to be written to."""
    return write_bases(MINI, tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred training rows."""
    return _write(tmp_path_factory.mktemp("data") / "train.jsonl", "train", 100)


@pytest.fixture(scope="session")
def eval_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten evaluation rows."""
    return _write(tmp_path_factory.mktemp("data") / "eval.jsonl", "test", 10)


def _write(path: Path, split: Split, count: int) -> Path:
    lines = [json.dumps(pair, ensure_ascii=False) for pair in islice(pairs(split), count)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


Configure = Callable[..., Path]


@pytest.fixture
def configure(tmp_path: Path, bases: dict[str, Path], rows_file: Path, eval_file: Path) -> Configure:
    """Write a configuration of a run of four steps on the patched base; `section__key=value` changes it."""

    def write(**changes: object) -> Path:
        config: dict[str, dict[str, object]] = {
            "model": {"base_model": str(bases["patched"]), "trust_remote_code": True},
            "data": {"train": str(rows_file), "eval": str(eval_file)},
            "training": {
                "output_dir": str(tmp_path / "out"),
                "max_steps": 4,
                "batch_size": 4,
                "learning_rate": 1e-3,
                "max_seq_length": 32,
                "logging_steps": 1,
                "eval_steps": 2,
                "save_steps": 2,
                "precision": "fp32",
            },
            "hub": {},
        }
        for name, value in changes.items():
            section, _, key = name.partition("__")
            config[section][key] = value
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config), "utf-8")
        return path

    return write
