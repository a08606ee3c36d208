"""`patcher encode` as a user runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from patcher.cli import main
from patcher.cli.encode import Target
from patcher.retrieval.formats import FORMATS
from tests.conftest import ROOT, user_environment
from tests.retrieval.fixtures import EncodedTexts, read_parquet

TOTAL = 1500
RUNS = ("--trust-remote-code", "--device", "cpu")


def write_texts(path: Path, total: int) -> Path:
    path.write_text("".join(json.dumps({"id": n, "text": f"Hytte nummer {n} ved havet."}) + "\n" for n in range(total)))
    return path


def test_a_killed_run_goes_on_and_nothing_is_lost_or_doubled(patched_once: Path, tmp_path: Path) -> None:
    texts, out = write_texts(tmp_path / "texts.jsonl", TOTAL), tmp_path / "out.parquet"
    words = [sys.executable, "-m", "patcher", "encode", patched_once, texts, "--to", "parquet", "--out", out, *RUNS]
    environment = user_environment(tmp_path / "home")
    with subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) as killed:
        work, deadline = tmp_path / ".out.parquet.partial", time.monotonic() + 240
        while not list(work.glob("document-*.safetensors")):
            assert killed.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
    assert not out.exists()
    done = subprocess.run([*words, "--json"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert 0 < found["resumed"] < TOTAL == found["texts"]
    assert f"{found['resumed']:,} of 1,500 texts were encoded by an earlier run." in done.stderr
    ids, vectors = read_parquet(out)
    assert ids == [str(n) for n in range(TOTAL)] and len(vectors) == TOTAL
    assert not work.exists()


def test_the_summary_shows_what_an_index_costs(
    patched_once: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, out = write_texts(tmp_path / "texts.jsonl", 3), tmp_path / "out.sql"
    words = ["encode", patched_once, texts, "--to", "pgvector", "--out", out, "--max-active-dims", "4", *RUNS]
    assert main([str(word) for word in words]) == 0
    shown, err = capsys.readouterr()
    assert "HNSW index takes vectors of at most 1,000 non-zeros" in err.split("Encoding")[0], "before the work"
    for figure in ("active dims, mean", "inverted index", "FLOPS with the bundled", "postings read per query"):
        assert figure in shown
    assert "Active in more than half of the texts: " in shown and f"Written: {out}" in shown
    rows = [line.split("\t") for line in out.read_text().splitlines()]
    assert [key for key, _ in rows] == ["0", "1", "2"] and all(row.count(":") == 4 for _, row in rows)


def test_figures_as_json_are_those_of_the_vectors(encoded: dict[str, EncodedTexts]) -> None:
    documents, queries = encoded["document"], encoded["query"]
    costs = documents.printed["costs"]
    assert isinstance(costs, dict)
    per_dimension = np.bincount(documents.vectors.indices, minlength=documents.vectors.width)
    read = [per_dimension[dims].sum() for dims, _ in queries.vectors.rows()]
    assert costs["postings_per_query"] == pytest.approx(np.mean(read)), "the bundled questions are what was encoded"
    assert costs["flops"] == pytest.approx(np.mean(read) / len(documents.ids))
    assert costs["active_dims"] == pytest.approx(documents.vectors.counts.mean())
    assert isinstance(queries.printed["costs"], dict) and queries.printed["costs"]["flops"] is None


def test_every_format_can_be_chosen() -> None:
    assert get_args(Target) == tuple(FORMATS)


def test_nothing_runs_without_a_yes_and_nothing_that_exists_is_replaced(
    patched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = write_texts(tmp_path / "texts.jsonl", 1)
    assert main(["encode", str(patched), str(texts), "--to", "qdrant", "--out", str(tmp_path / "out")]) == 3
    assert "--trust-remote-code" in capsys.readouterr().err
    assert main(["encode", str(patched), str(texts), "--to", "qdrant", "--out", str(texts), *RUNS]) == 3
    assert "exists; it was left unchanged" in capsys.readouterr().err
