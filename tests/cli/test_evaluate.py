"""`patcher evaluate` as a user runs it; what it measures is pinned in tests/retrieval/test_benchmark.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from patcher.cli import main
from patcher.cli.console import Table
from patcher.cli.evaluate import _shown
from patcher.retrieval.benchmark import Evaluated, Figures, Row


def test_a_table_for_each_task_shows_retrieval_beside_costs() -> None:
    costs = Figures(13.5, 24.25, 3.9508, 857.5)
    rows = [
        Row(task, name, 0.8055, 0.78, 1.0, cost) for task in ("A", "B") for name, cost in (("m", costs), ("BM25", None))
    ]
    shown = list(_shown(Evaluated(tuple(rows), Path("out/results"), ("a note",))))
    assert [one for one in shown if isinstance(one, str)] == [
        *("A:", "", ""),
        *("B:", "", ""),
        "Note: a note",
        f"mteb results: {Path('out/results')}",
    ]
    retrieval, paid = (one.rows for one in shown[1:4] if isinstance(one, Table))
    assert list(retrieval) == [("m", "0.805", "0.780", "1.000"), ("BM25", "0.805", "0.780", "1.000")]
    assert list(paid) == [("m", "13.50", "24.25", "3.95", "857.50")], "BM25 has no vectors"


def test_a_task_that_does_not_exist_is_wrong_usage(
    patched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mteb")
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", str(patched), "--task", "Nothing", "--trust-remote-code"]) == 2
    assert capsys.readouterr().err.startswith("Error: mteb has no task 'Nothing'.\nHint: ")
    assert list(tmp_path.glob("build")) == []
