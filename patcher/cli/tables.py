"""Values as tables and as lines, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from patcher.cli.console import Table
from patcher.documents.checks import check_rows
from patcher.documents.figures import figure_rows
from patcher.documents.formatting import decimal, decimal4, number, percent, size
from patcher.planning.plan import Plan
from patcher.verify.report import Check, Report

if TYPE_CHECKING:  # each serves one command, and the others do not import it
    from patcher.pipeline.family import Outcome, Outcomes
    from patcher.publish import Checked, Finding, Publication, PublishPlan
    from patcher.threshold.report import ThresholdReport
    from patcher.threshold.sweep import Row


def codemods(plan: Plan) -> Table:
    """What each codemod does."""
    rows = [
        (
            result.name,
            result.status.replace("_", " "),
            result.file,
            result.reason or ", ".join(f"line {edit.line}" for edit in result.edits),
        )
        for result in plan.codemods
    ]
    return Table(("codemod", "status", "file", "where"), rows)


def files(plan: Plan) -> Table:
    """What becomes of each file of the source."""
    found = plan.files
    rows = [
        *((path, "rewritten", "") for path in found.changed),
        *((path, "copied", "byte for byte") for path in found.copied),
        *((path, "added", f"a copy of {origin}, which loading looks for") for path, origin in found.added.items()),
        *((origin, "converted", f"to {path}, tensor by tensor") for path, origin in found.converted.items()),
        *((path, "left out", reason) for path, reason in found.dropped.items()),
    ]
    return Table(("file", "becomes", "why"), rows)


def nothing_line(plan: Plan) -> str:
    """Why there is nothing to patch."""
    if plan.already_patched and plan.soft_cap:
        return f"{plan.source} is already patched: `{plan.soft_cap.expression}` was removed before. Nothing to do."
    return f"{plan.source}: {plan.nothing_to_do}. Nothing to do."


def report(report: Report) -> Table:
    """Every figure and every check: base, patched on each device, limit, verdict. A kept cap has no base model."""
    checks = {row.counted: row for row in check_rows(report)}
    rows: list[tuple[str, ...]] = []
    for name, base, values in figure_rows(report):
        check = checks.pop(name, None)
        rows.append((name, base, *values, *((check.plain_limit, _verdict(check.check)) if check else ("", ""))))
    rows += [(name, "", *row.values, row.plain_limit, _verdict(row.check)) for name, row in checks.items()]
    devices = [str(device.environment["device"]) for device in report.devices]
    model = "patched" if report.base else "this model"
    headers = ["", "base", *([model] if len(devices) == 1 else [f"{model}, {device}" for device in devices])]
    if not report.base:
        headers, rows = ["", *headers[2:]], [(row[0], *row[2:]) for row in rows]
    return Table((*headers, "limit", "verdict"), rows, right=range(1, len(headers) + 1))


def failure_lines(report: Report) -> list[str]:
    """The failed checks of all devices, with what each value is."""
    failed = [f"{check.name}: {check.detail}" for check in report.all_checks if not check.passed]
    return list(dict.fromkeys(failed))


def _verdict(check: Check) -> str:
    return f"{'passed' if check.passed else 'FAILED'}  {check.name}"


def checks(checks: Sequence[Check]) -> Table:
    """One row for each check, its value beside its limit."""
    rows = [
        ("passed" if check.passed else "FAILED", check.name, number(check.value), number(check.limit), check.detail)
        for check in checks
    ]
    return Table(("", "check", "value", "limit", "what the value is"), rows, right=(2, 3))


def family(outcomes: Outcomes) -> Table:
    """One row for each model of a list."""
    rows = [
        (one.source, one.status, percent(one.logit_sparsity), one.checks, f"{one.seconds:.1f}", one.reason)
        for one in outcomes.all
    ]
    return Table(("repository", "status", "logit sparsity", "checks", "seconds", "reason"), rows, right=(2, 3, 4))


def family_line(outcome: Outcome) -> str:
    """One model of a list in one line: its status, its source, and its folder or why it has none."""
    return "\t".join((outcome.status, outcome.source, outcome.reason or str(outcome.entry.out)))


def operations(plan: PublishPlan) -> Table:
    """One row for each operation of a publication and for each file that is kept at the target."""
    there = {"delete": "removed", "upload": "replaced", "copy": "replaced"}
    rows = [
        (one.op, one.path, _short(one.origin), size(one.size), there[one.op] if one.replaces else "new")
        for one in plan.operations
    ]
    rows += [("keep", path, "", "", f"kept: {reason}") for path, reason in plan.kept.items()]
    return Table(("operation", "path", "from", "size", "at the target"), rows, right=(3,))


def plan_line(plan: PublishPlan) -> str:
    """A publication in one line: what it transfers, and its target."""
    target = plan.target
    if plan.case == "equal":
        return f"{plan.repo_id} already holds exactly this, at {str(target.head)[:7]}. Nothing to commit."
    where = f"a pull request on {plan.repo_id}" if plan.options.create_pr else f"{plan.repo_id} ({target.revision})"
    visibility = "private" if plan.options.private or target.private else "public"
    what = {"new": "new", "update": "an update of an earlier publication", "replace": "REPLACING what is there"}[
        plan.case
    ]
    return (
        f"One commit as {plan.account.name} to {where}, {visibility}, {what}: "
        f"uploads {size(plan.bytes_uploaded)}, the Hub copies {size(plan.bytes_copied)}."
    )


def publication_line(publication: Publication) -> str:
    """How a publication ended, in one line."""
    words = {
        "committed": "Published",
        "landed": "Published (the response of the Hub was lost; the commit was found there)",
        "nothing to do": "Nothing to do, already published",
    }
    verdict = "" if publication.passed else ", but read-back mismatch"
    return f"{words[publication.case]}: {publication.url} at {publication.commit}{verdict}"


def checked_line(checked: Checked) -> str:
    """Whether a published model matches its record, in one line."""
    verdict = "matches its record" if checked.passed else "does NOT match its record"
    return f"{checked.repo_id}@{checked.commit[:7]} {verdict}."


def findings(findings: Sequence[Finding]) -> Table:
    """One row for each finding."""
    words = {True: "passed", False: "FAILED", None: "open"}
    return Table(("", "check", "what was found"), [(words[one.passed], one.name, one.detail) for one in findings])


def threshold_figures(report: ThresholdReport) -> Table:
    """The figures of a threshold; only those without it where none is needed."""
    plain, row = report.rows[0], report.row or report.rows[0]
    rows = [
        ("query embedding sparsity, mean", percent(plain.query_sparsity), percent(row.query_sparsity)),
        ("query active dims, mean", decimal(plain.query_active_dims), decimal(row.query_active_dims)),
        ("document embedding sparsity, mean", percent(plain.document_sparsity), percent(row.document_sparsity)),
        ("document active dims, mean", decimal(plain.document_active_dims), decimal(row.document_active_dims)),
        ("nDCG@10", decimal4(plain.ndcg), decimal4(row.ndcg)),
        ("MRR@10", decimal4(plain.mrr), decimal4(row.mrr)),
    ]
    headers = ("figure", "raw metric, no threshold", f"threshold {report.threshold:g}")
    columns = 3 if report.capped else 2
    return Table(headers[:columns], [cells[:columns] for cells in rows], right=(1, 2))


def sweep(report: ThresholdReport) -> Table:
    """One row for each threshold of a sweep."""
    headers = (
        "threshold",
        "query embedding sparsity",
        "document embedding sparsity",
        "right first",
        "same top 10",
        "Kendall's tau",
        "nDCG@10",
        "MRR@10",
    )
    return Table(headers, [_sweep_row(row) for row in report.rows], right=range(len(headers)))


def _sweep_row(row: Row) -> tuple[str, ...]:
    return (
        f"{row.threshold:g}",
        percent(row.query_sparsity),
        percent(row.document_sparsity),
        number(row.right_first),
        percent(row.exact),
        f"{row.tau:.3f}",
        decimal4(row.ndcg),
        decimal4(row.mrr),
    )


def threshold_lines(report: ThresholdReport, model: str, save: Path | None) -> list[str]:
    """The verdict on a threshold: what the sweep recommends, whether the checks passed, and what to do next."""
    row = report.row
    failed = ", ".join(check.name for check in report.checks if not check.passed)
    if not report.capped and row is not None and not failed:
        return [
            f"{model} needs no threshold: its cap was removed before (`{report.soft_cap.expression}`).",
            f"Its embeddings have true zeros: {percent(row.query_sparsity)} of each query, "
            f"{percent(row.document_sparsity)} of each document, by SparseEncoder.sparsity().",
        ]
    lines = _recommendation(report)
    if not failed:
        lines.append(f"Passed all {len(report.checks)} checks: use {model} with a threshold of {report.threshold:g}.")
        lines.append(f"Saved: {save}" if save else "`--save DIR` writes a copy with the threshold built in.")
        return lines
    lines.append(f"FAILED: at a threshold of {report.threshold:g} {model} did not pass {failed}.")
    if not report.swept and report.capped:
        lines.append("`--sweep` shows what other thresholds do.")
    if save:
        lines.append(f"{save} was not written.")
    return lines


def _recommendation(report: ThresholdReport) -> list[str]:
    best = next((found for found in report.rows if found.threshold == report.recommended), None)
    if best is not None:
        return [
            f"Recommended: {best.threshold:g}, the largest threshold up to which the rankings are kept; embedding "
            f"sparsity {percent(best.query_sparsity)} for queries, {percent(best.document_sparsity)} for documents."
        ]
    return ["Recommended: none; even the smallest threshold changes the rankings."] if report.swept else []


def _short(origin: str) -> str:
    """A source with seven digits of its commit."""
    name, at, revision = origin.partition("@")
    return f"{name}{at}{revision[:7]}"
