"""One table of checks: what each value is, on every device, against its limit, and where it failed."""

from __future__ import annotations

from dataclasses import replace

from patcher.documents.checks import check_rows, modes_line, threshold_check
from patcher.source.snapshot import Source
from patcher.verify.report import Check, DeviceReport, ModeReport, Report

CHECKS = (
    Check("weights_unchanged", True, 0, 0, ""),
    Check("cap_removed_exactly", True, 2.5e-6, 1.23456e-5, ""),
    Check("relu_sparsity", True, 0.9876, 0.98, ""),
    Check("of_another_version", True, 1200, 2000, ""),
)
REPORT = Report(
    source=Source(None, None, "x"),
    environment={"device": "cpu"},
    checks=CHECKS,
    base={"logit_sparsity": 0.0},
    patched={},
    files={},
    texts=1,
)


def second(*checks: Check) -> Report:
    return replace(REPORT, more_devices=(DeviceReport({"device": "cuda"}, checks, {}, {}),))


def test_a_row_says_what_its_value_is_and_how_far_it_may_go() -> None:
    assert [(row.counted, row.base, row.values, row.limit, row.plain_limit) for row in check_rows(REPORT)] == [
        ("weight tensors that differ from the source", "", ("0",), "0", "0"),
        ("largest |base - cap(patched)|", "", ("2.5e-06",), "≤ 1.23e-05", "<= 1.23456e-05"),
        ("logit sparsity", "0.00 %", ("98.76 %",), "> 98 %", "> 98.00 %"),
        ("of_another_version", "", ("1,200",), "≤ 2e+03", "<= 2,000"),
    ]


def test_each_device_has_its_value_and_the_one_that_failed_decides() -> None:
    failed = Check("relu_sparsity", False, 0.5, 0.98, "")
    rows = check_rows(second(CHECKS[0], failed))
    assert [row.values for row in rows] == [("0", "0"), ("2.5e-06", ""), ("98.76 %", "50.00 %"), ("1,200", "")]
    assert [row.check.passed for row in rows] == [True, True, False, True]


def test_the_threshold_check_is_the_one_that_failed() -> None:
    failed = Check("relu_sparsity", False, 0.5, 0.98, "")
    assert threshold_check(second(failed)) is failed
    assert threshold_check(second(CHECKS[2])) is CHECKS[2]
    assert threshold_check(replace(REPORT, checks=CHECKS[:2])) is None


def test_the_modes_of_use_stand_in_one_line_with_those_that_are_wrong_on_some_device() -> None:
    right = ModeReport("left_padding", True, 0.0, "")
    not_run = ModeReport("attentions", None, None, "its code returns none")
    first = replace(REPORT, modes=(right, replace(right, name="train"), not_run))
    assert modes_line(REPORT) == ""
    assert modes_line(first) == (
        "Run in 2 modes of use: left padding, train; not run: attentions (its code returns none)"
    )
    wrong = replace(right, name="train", passed=False, detail="its loss is nan")
    both = replace(first, more_devices=(DeviceReport({}, (), {}, {}, modes=(right, wrong)),))
    assert "Run in 2 modes of use: left padding, train; wrong: train (its loss is nan); not run:" in modes_line(both)
