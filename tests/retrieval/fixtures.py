"""The bundled questions and passages, encoded once as a user does, and once by SparseEncoder itself."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from patcher.retrieval.vectors import Vectors


@dataclass(frozen=True)
class EncodedTexts:
    """Texts of one kind: the file, their ids, their vectors, and what the command printed as JSON."""

    file: Path
    ids: list[str]
    vectors: Vectors
    printed: dict[str, object]


def read_parquet(path: Path) -> tuple[list[str], Vectors]:
    """The ids and the vectors of a neutral file."""
    from pyarrow.parquet import read_table

    table = read_table(path)
    rows = table.to_pydict()
    return rows["id"], Vectors(
        int(table.schema.metadata[b"width"]),
        np.array([len(dims) for dims in rows["indices"]], dtype=np.int32),
        np.array([dim for dims in rows["indices"] for dim in dims], dtype=np.int32),
        np.array([value for values in rows["values"] for value in values], dtype=np.float32),
    )


def texts_of(kind: str) -> dict[str, str]:
    """The bundled questions or passages by id."""
    from patcher.retrieval.benchmark import bundled

    found = bundled()
    return dict(found.queries if kind == "query" else found.documents)


@pytest.fixture(scope="session")
def encoded(patched_once: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, EncodedTexts]:
    """Both kinds through `patcher encode`, from JSON lines into neutral files. Not to be written to."""
    from tests.conftest import ROOT, user_environment

    place = tmp_path_factory.mktemp("encoded")
    found = {}
    for kind, words in (("document", []), ("query", ["--queries"])):
        source, out = place / f"{kind}.jsonl", place / f"{kind}.parquet"
        lines = (json.dumps({"id": key, "text": text}) + "\n" for key, text in texts_of(kind).items())
        source.write_text("".join(lines))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "patcher", "encode", patched_once, source, *words, "--to", "parquet"),
                *("--out", out, "--trust-remote-code", "--device", "cpu", "--json"),
            ],
            cwd=ROOT,
            env=user_environment(place / "home"),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found[kind] = EncodedTexts(source, *read_parquet(out), json.loads(done.stdout))
    return found
