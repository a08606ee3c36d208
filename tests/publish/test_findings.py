"""Three outcomes of a check: passed, failed, could not be checked."""

from __future__ import annotations

import pytest

from patcher.publish.findings import Checked, Finding, finding

FINE, WRONG, OPEN = Finding("a", True, ""), Finding("b", False, ""), Finding("c", None, "")
FOLDER = Finding("d", None, "", checkable=False)


@pytest.mark.parametrize(
    ("findings", "outcome"),
    [
        ((FINE,), "passed"),
        ((FINE, FOLDER), "passed"),
        ((FINE, OPEN), "could not be checked"),
        ((FINE, OPEN, WRONG), "failed"),
    ],
)
def test_what_could_not_be_seen_is_neither_right_nor_wrong(findings: tuple[Finding, ...], outcome: str) -> None:
    checked = Checked("a/b", "0" * 40, findings)
    assert checked.outcome == outcome and checked.passed is (outcome != "failed")


def test_a_finding_names_what_differs_and_passes_where_nothing_does() -> None:
    assert finding("files_equal", [], "3 files") == Finding("files_equal", True, "3 files")
    assert finding("files_equal", ["a", "b"], "3 files") == Finding("files_equal", False, "mismatch: a, b")
