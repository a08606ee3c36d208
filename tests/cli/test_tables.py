"""Values as tables and lines: what stands in a row, which verdict it gets, and what is said where nothing is to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from patcher.cli import tables
from patcher.cli.console import Diff, Failure, Table
from patcher.pipeline.api import Patched
from patcher.planning.files import file_table
from patcher.planning.plan import make_plan
from patcher.publish import Checked, Finding
from patcher.source.snapshot import Source, resolve
from patcher.verify.report import Check, DeviceReport, Report
from tests.conftest import MINI

SPARSE = Check("relu_sparsity", True, 0.99, 0.98, "logit sparsity of the patched model")
EQUAL = Check("weights_unchanged", False, 2, 0, "a, b")
FIGURES = {
    "min": -4.5,
    "max": 9.5,
    "negative_fraction": 0.99,
    "logit_sparsity": 0.99,
    "embedding_sparsity": {"mean": 0.97, "min": 0.95},
    "active_dims": {"mean": 12.5, "max": 20},
}
REPORT = Report(
    source=Source(None, None, "x"),
    environment={"device": "cpu"},
    checks=(SPARSE, EQUAL),
    base={**FIGURES, "logit_sparsity": 0.0},
    patched=FIGURES,
    files={},
    texts=1,
)


def row(table: Table, name: str) -> tuple[str, ...]:
    return next(tuple(row) for row in table.rows if row[0] == name)


def test_a_report_has_a_row_for_each_figure_and_each_check() -> None:
    figures, checks = tables.figures(REPORT), tables.checks(REPORT)
    assert figures.headers == ["figure", "base", "patched"]
    assert row(figures, "logit sparsity") == ("logit sparsity", "0.00 %", "99.00 %")
    assert checks.headers == ("", "check", "value", "limit", "what the value is")
    assert list(checks.rows) == [
        ("passed", "relu_sparsity", "99.00 %", "> 98.00 %", "logit sparsity"),
        ("FAILED", "weights_unchanged", "2", "0", "weight tensors that differ from the source"),
    ]


def test_a_second_device_has_a_column() -> None:
    other = DeviceReport({"device": "cuda"}, (SPARSE,), FIGURES, {**FIGURES, "logit_sparsity": 0.5})
    report = replace(REPORT, more_devices=(other,))
    assert tables.figures(report).headers == ["figure", "base", "patched, cpu", "patched, cuda"]
    assert row(tables.figures(report), "logit sparsity")[1:] == ("0.00 %", "99.00 %", "50.00 %")
    assert tables.checks(report).headers[2:4] == ("value, cpu", "value, cuda")


def test_a_model_that_keeps_its_cap_has_no_column_of_a_base() -> None:
    assert tables.figures(replace(REPORT, base={})).headers == ["figure", "this model"]


def test_the_verdict_names_what_failed_and_where() -> None:
    said = [part for part in tables.verification(REPORT, Path("out")) if isinstance(part, str)]
    assert "weights_unchanged: a, b" in said and Failure("FAILED: out did not pass weights_unchanged.") in said
    assert [type(part) for part in said if part.startswith("FAILED:")] == [Failure]
    passed = list(tables.verification(replace(REPORT, checks=(SPARSE,)), Path("out")))
    assert passed[-1] == "Verified: out passed all 1 checks."


def test_a_plan_says_what_becomes_of_each_file() -> None:
    diff, codemods, _, files = tables.plan(make_plan(resolve(str(MINI))))
    assert isinstance(diff, Diff) and isinstance(codemods, Table) and isinstance(files, Table)
    assert row(files, "modeling_gptbert.py")[1] == "rewritten"
    assert row(files, "model.safetensors")[1:] == ("copied", "byte for byte")
    assert row(files, "model.onnx")[1] == "left out"
    assert row(codemods, "soft_cap")[1:3] == ("applied", "modeling_gptbert.py")
    assert row(codemods, "tied_weights")[1] == "applied"
    assert row(codemods, "config_defaults")[1] == "applied"
    assert codemods.rows[-1][:3] == ("max_length", "not needed", "tokenizer_config.json")


def test_a_folder_that_was_not_verified_is_said_to_be_so() -> None:
    done = Patched(Path("out"), make_plan(resolve(str(MINI))), None)
    assert list(tables.patched(done, Path("out")))[1] == (
        "Written: out (not verified; run `patcher verify out` before you use it)"
    )


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["README.md", "trainer_state.json"], []),
        (["README.md", "model_head.pkl", "model.onnx"], ["Left out: model_head.pkl, model.onnx (README.md says why)"]),
        (
            [f"onnx/{number}.onnx" for number in range(9)],
            ["Left out: onnx/0.onnx, onnx/1.onnx, onnx/2.onnx, ... (README.md says why)"],
        ),
    ],
)
@pytest.mark.parametrize("report", [None, REPORT], ids=["not verified", "verified"])
def test_what_a_new_folder_leaves_out_of_the_model_is_named_in_one_line(
    paths: list[str], said: list[str], report: Report | None
) -> None:
    made = replace(make_plan(resolve(str(MINI))), files=file_table(paths, ()))
    shown = list(tables.patched(Patched(Path("out"), made, report), Path("out")))
    assert [part for part in shown[-1:] if str(part).startswith("Left out")] == said


def test_a_published_model_that_differs_from_its_record_is_a_failure() -> None:
    found = Checked("a/b", "0123456789", (Finding("code_equal", False, "mismatch: x.py"),))
    table, _, verdict = tables.checked(found)
    assert isinstance(table, Table) and list(table.rows) == [("FAILED", "code_equal", "mismatch: x.py")]
    assert isinstance(verdict, Failure) and verdict == "a/b@0123456 does NOT match its record."
