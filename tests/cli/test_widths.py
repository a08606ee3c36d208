"""The tables that commands print fit a terminal of 80 columns, with values as large as they become."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from patcher.cli import evaluate, search, tables
from patcher.cli.console import Console, Table
from patcher.documents.checks import _COUNTED
from patcher.pipeline.disk import Need
from patcher.pipeline.family import NOTHING, PATCHED, Entry, Outcome, Outcomes
from patcher.planning.plan import make_plan
from patcher.publish import Checked, Finding
from patcher.publish.operations import Operation
from patcher.retrieval.benchmark import Evaluated, Figures
from patcher.retrieval.benchmark import Row as Benchmark
from patcher.retrieval.search import Hit, SearchResult, Term
from patcher.source.snapshot import Source, resolve
from patcher.threshold.evaluation import Evaluation
from patcher.threshold.messages import Interval, Point, Row, Tau
from patcher.threshold.sweep import is_common, points
from patcher.verify.report import Check, DeviceReport
from tests.cli.test_console import open_terminal
from tests.cli.test_tables import FIGURES, REPORT
from tests.conftest import COMMIT, MINI
from tests.threshold import made_up

LONG = "HPLT/hplt_gpt_bert_base_3_0_nob_Latn"
BASE = Source("ltg/norbert4-base", COMMIT, None)
COLUMNS = 80


def shown(parts: Iterable[Table | str]) -> list[Table]:
    """The tables of what a command prints, without sentences and diffs, which wrap and scroll."""
    return [part for part in parts if isinstance(part, Table)]


def point_row(point: Point) -> Row:
    """A point of a sweep over a large collection: the one that prunes nothing is the widest."""
    dense = point == Point(0.0, 0.0)
    return replace(
        made_up.ROW,
        point=point,
        query_sparsity=0.0 if dense else 0.99961,
        document_sparsity=0.0 if dense else 0.99737,
        query_active_dims=51200.0 if dense else 19.97,
        document_active_dims=51200.0 if dense else 134.66,
        flops=51200.0 if dense else 123.4567,
        postings_per_query=51200.0 * 10_000 if dense else 1_234_567.0,
        index_bytes=4_096_000_000,
        ndcg=0.9123,
        ndcg_interval=Interval(0.9123, 0.8912, 0.9321),
        exact=1.0 if dense else 0.9963,
        tau=Tau(-0.123, -1.0),
        ranks={"q": 1},
    )


SWEEP = tuple(map(point_row, points(None, sweep=True)))
THRESHOLD = replace(
    made_up.PASSED,
    rows=tuple(row for row in SWEEP if is_common(row.point)),
    more_rows=tuple(row for row in SWEEP if not is_common(row.point)),
    without_cap=SWEEP[0],
    bm25={"ndcg@10": 0.6893, "mrr@10": 0.7012, "recall@10": 0.7777},
    evaluation=Evaluation({"q": "Hvilken norsk forfatter skrev romanen Sult?"}, {}, {}, True),
)
CHECKS = tuple(Check(name, True, 3.81470e-06, 7.62939e-06, "all") for name in (*_COUNTED, "relu_sparsity"))
COSTS = {"flops": 51200.0, "postings_per_query": 3_328_000.0, "index_bytes": 26_624_000, "frequent": 51200, "empty": 0}
VERIFIED = replace(REPORT, checks=CHECKS, base={**FIGURES, "costs": COSTS}, patched={**FIGURES, "costs": COSTS})
GPU = DeviceReport({"device": "cuda"}, CHECKS, VERIFIED.base, VERIFIED.patched)
OUTCOMES = Outcomes(
    tuple(
        Outcome(
            Entry(f"{name}@{COMMIT}", Path("models") / "x"),
            f"{name}@{COMMIT}",
            status,
            seconds,
            reason,
            report=replace(REPORT, checks=REPORT.checks * 9),
            need=Need(4_321_000_000, 999_900_000),
        )
        for name, status, seconds, reason in (
            ("ltg/norbert4-xlarge", PATCHED, 12345.67, ""),
            (LONG, NOTHING, 0.3, "already patched: `30 * torch.sigmoid(x / 7.5)` was removed"),
        )
    )
)
EVALUATED = Evaluated(
    tuple(
        Benchmark("NorQuadRetrieval", model, 0.9123, 0.8999, 1.0, costs)
        for model, costs in (
            (f"{LONG}-splade", Figures(12345.67, 51200.0, 12345.678, 1_234_567.8)),
            ("mteb/baseline-bm25s", None),
        )
    ),
    Path("build/evaluation"),
    (),
)


@pytest.fixture
def cases() -> dict[str, list[Table]]:
    publishing: Any = SimpleNamespace(
        **{
            "diff": "",
            "kept": {"somebody/else.py": "not of this tool"},
            "notes": (),
            "repo_id": "ola/model",
        },
        target=SimpleNamespace(head=COMMIT),
        case="equal",
        operations=[
            Operation("copy", "model.safetensors", str(Source(LONG, COMMIT, None)), 728_600_000, replaces=True),
            Operation("upload", "2_SparseThreshold/config.json", "this machine", 241_800, replaces=False),
        ],
    )
    terms = tuple(Term(f"fiskehandlere{n}", 12.34) for n in range(8))
    hits = tuple(
        Hit(f"doc-{n}", 123.456, "Hytta ligger på en øy ved havet, og den er liten. " * 4, terms) for n in range(3)
    )
    return {
        "plan": shown(tables.plan(make_plan(resolve(str(MINI))))),
        "verify": shown(tables.verification(VERIFIED, Path("norbert4-splade"))),
        "verify, two devices": shown(tables.verification(replace(VERIFIED, more_devices=(GPU,)), Path("x"))),
        "patch --all": shown(tables.family(OUTCOMES)),
        "check": shown(tables.checked(Checked("a/b", COMMIT, (Finding("source_there", True, str(BASE)),)))),
        "threshold --sweep": shown(tables.threshold(THRESHOLD, "model", None, saved=False)),
        "evaluate": shown(evaluate._shown(EVALUATED)),
        "publish": shown(tables.publish_plan(publishing)),
        "search": shown(search._shown(SearchResult(BASE, "Hvor er hytta?", terms, 10_000, 9_999, hits))),
    }


def test_every_table_with_real_values_fits_80_columns_and_breaks_no_word(
    cases: dict[str, list[Table]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(cases.values())
    for table in (one for found in cases.values() for one in found):
        terminal = open_terminal(monkeypatch)
        Console().table(table)
        lines = terminal.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
        assert max(map(len, lines)) <= COLUMNS, "\n".join(lines)
        words = {word for line in lines for word in line.split()}
        cells = [cell for row in (table.headers, *table.rows) for cell in row]
        assert {word for cell in cells for word in cell.split()} <= words, "\n".join(lines)
