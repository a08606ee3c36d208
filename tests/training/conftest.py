"""What the training tests share: the scripts of `templates/`, a patched and a capped base, a few training rows."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What `datasets` makes of the rows goes with the tests."""
    import datasets

    datasets.config.HF_DATASETS_CACHE = str(tmp_path_factory.mktemp("datasets"))


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


def write_beir(folder: Path) -> Path:
    """A folder as BEIR lays it out: two documents, two queries, one of them without a right document."""
    (folder / "qrels").mkdir(parents=True)
    documents = [("d1", "", "Oslo er hovedstaden i Norge."), ("d2", "Om fisk", "Torsken lever i havet.")]
    corpus = [{"_id": key, "title": title, "text": text} for key, title, text in documents]
    queries = [{"_id": "q1", "text": "Hva er hovedstaden i Norge?"}, {"_id": "q2", "text": "Hvor lever torsken?"}]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    qrels = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t0\n"
    (folder / "qrels" / "test.tsv").write_text(qrels, "utf-8")
    return folder


def write_nano_beir(folder: Path) -> Path:
    """The same as a data set of NanoBEIR: a configuration for each of its three parts, and one split."""
    write_beir(folder)
    (folder / "qrels" / "test.tsv").unlink()
    (folder / "qrels.jsonl").write_text(json.dumps({"query-id": "q1", "corpus-id": "d1"}) + "\n", "utf-8")
    (folder / "qrels").rmdir()
    configs = [
        {"config_name": name, "data_files": [{"split": "NanoNFCorpus", "path": f"{name}.jsonl"}]}
        for name in ("corpus", "queries", "qrels")
    ]
    (folder / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n", "utf-8")
    return folder


Configure = Callable[..., Path]


Configured = Callable[..., Path]


@pytest.fixture(scope="session")
def configured(bases: dict[str, Path], rows_file: Path, eval_file: Path) -> Configured:
    """Write a configuration of a run of four steps on the patched base; `section__key=value` changes it."""

    def write(folder: Path, /, **changes: object) -> Path:
        columns = {"query": "query", "positive": "positive", "negatives": ["negative"]}
        config: dict[str, Any] = {
            "model": {"base_model": str(bases["patched"]), "trust_remote_code": True, "max_seq_length": 32},
            "datasets": [
                {"name": "train", "source": str(rows_file), "columns": columns},
                {"name": "eval", "source": str(eval_file), "columns": columns, "eval_share": 1},
            ],
            "training": {
                "output_dir": str(folder / "out"),
                "max_steps": 4,
                "per_device_train_batch_size": 4,
                "learning_rate": 1e-3,
                "logging_steps": 1,
                "eval_steps": 2,
                "save_steps": 2,
            },
        }
        for name, value in changes.items():
            section, _, key = name.partition("__")
            if not key:
                config[section] = value
            elif section == "train":
                config["datasets"][0][key] = value
            else:
                config.setdefault(section, {})[key] = value
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(config), "utf-8")
        return path

    return write


@pytest.fixture
def configure(tmp_path: Path, configured: Configured) -> Configure:
    """The same in the test's own folder."""
    return partial(configured, tmp_path)
