"""Values as rows of a table or as one line, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patcher.documents.figures import figures
from patcher.documents.formatting import decimal, decimal4, number, percent, size

if TYPE_CHECKING:
    from patcher.pipeline.family import Outcome
    from patcher.planning.plan import Plan
    from patcher.publish import Publication, PublishPlan
    from patcher.threshold.report import ThresholdReport
    from patcher.threshold.sweep import Row
    from patcher.verify.report import Report


# What a check's value counts, for somebody who has never seen one; the figure's own row takes its limit and verdict.
_COUNTED = {
    "weights_unchanged": "weight tensors that differ from the source",
    "buffers_rebuilt": "computed tables that differ from fresh ones",
    "cap_removed_exactly": "largest |base - cap(patched)|",
    "predictions_unchanged": "positions that predict another token",
    "logits_finite": "logits that are not finite",
    "sparse_encoder_loads": "embedding values of SparseEncoder that are not finite",
    "weights_converted": "converted files that are not as they were read back",
    "sparse_encoder_agrees": "texts whose active dims SparseEncoder counts otherwise",
    "devices_agree": "largest difference of a logit between devices",
    "rankings_kept": "positions that rank their best tokens otherwise",
}


_FIGURES = {"negative logits": "negative_logits", "logit sparsity": "relu_sparsity"}


def verdicts(report: Report) -> list[tuple[str, ...]]:
    """The table of a verification, row by row: what it is, base, patched (per device), limit, verdict."""
    devices = report.devices
    checks = [{check.name: check for check in device.checks} for device in devices]

    def verdict(name: str) -> str:
        found = [one[name] for one in checks if name in one]
        return f"{'passed' if all(check.passed for check in found) else 'FAILED'}  {name}"

    rows: list[tuple[str, ...]] = []
    for lines in zip(*(figures(device) for device in devices), strict=True):
        name, base = lines[0][:2]
        check = checks[0].get(_FIGURES.get(name, ""))
        limit = f"> {percent(check.limit)}" if check else ""
        rows.append((name, base, *(line[2] for line in lines), limit, verdict(check.name) if check else ""))
    for name, words in _COUNTED.items():
        if name not in checks[0]:
            continue
        values = [number(one[name].value) if name in one else "" for one in checks]
        limit = number(checks[0][name].limit)
        rows.append((words, "", *values, f"<= {limit}" if limit != "0" else limit, verdict(name)))
    return rows


SWEEP_HEADERS = (
    "threshold",
    "query embedding sparsity",
    "document embedding sparsity",
    "right first",
    "same top 10",
    "Kendall's tau",
    "nDCG@10",
    "MRR@10",
)


def sweep_row(row: Row) -> tuple[str, ...]:
    """One threshold of a sweep, as its table shows it."""
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


def threshold_figures(report: ThresholdReport) -> list[tuple[str, ...]]:
    """The table of a threshold, row by row; only the first column of figures where none is needed."""
    plain, row = report.rows[0], report.row or report.rows[0]
    both = [
        ("query embedding sparsity, mean", percent(plain.query_sparsity), percent(row.query_sparsity)),
        ("query active dims, mean", decimal(plain.query_active_dims), decimal(row.query_active_dims)),
        ("document embedding sparsity, mean", percent(plain.document_sparsity), percent(row.document_sparsity)),
        ("document active dims, mean", decimal(plain.document_active_dims), decimal(row.document_active_dims)),
        ("nDCG@10", decimal4(plain.ndcg), decimal4(row.ndcg)),
        ("MRR@10", decimal4(plain.mrr), decimal4(row.mrr)),
    ]
    return [line if report.capped else line[:2] for line in both]


def threshold_lines(report: ThresholdReport, model: str, save: Path | None) -> list[str]:
    """How it ended: what the sweep recommends, whether the checks passed, and what to do now."""
    row = report.row
    failed = ", ".join(check.name for check in report.checks if not check.passed)
    if not report.capped and row is not None and not failed:
        return [
            f"{model} needs no threshold: its cap was removed before (`{report.soft_cap.expression}`).",
            f"Its embeddings have true zeros: {percent(row.query_sparsity)} of each query, "
            f"{percent(row.document_sparsity)} of each document, by SparseEncoder.sparsity().",
        ]
    lines = []
    best = next((found for found in report.rows if found.threshold == report.recommended), None)
    if best is not None:
        lines.append(
            f"Recommended: {best.threshold:g}, the largest threshold up to which the rankings are kept; embedding "
            f"sparsity {percent(best.query_sparsity)} for queries, {percent(best.document_sparsity)} for documents."
        )
    elif report.swept:
        lines.append("Recommended: none, for even the smallest threshold changes the rankings.")
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


def family_line(outcome: Outcome) -> str:
    """One model of a list in one line: how it ended, which it is, and its folder or why not."""
    return "\t".join((outcome.status, outcome.source, outcome.reason or str(outcome.entry.out)))


def plan_line(plan: PublishPlan) -> str:
    """A publication in one line: what it moves and where to."""
    target = plan.target
    if plan.case == "equal":
        return f"{plan.repo_id} holds exactly this already, at {str(target.head)[:7]}. Nothing to commit."
    where = f"a pull request on {plan.repo_id}" if plan.options.create_pr else f"{plan.repo_id} ({target.revision})"
    seen = "private" if plan.options.private or target.private else "public"
    what = {"new": "new", "update": "an update of an earlier publication", "replace": "REPLACING what is there"}[
        plan.case
    ]
    return (
        f"One commit as {plan.account.name} to {where}, {seen}, {what}: "
        f"uploads {size(plan.bytes_uploaded)}, the Hub copies {size(plan.bytes_copied)}."
    )


def publication_line(publication: Publication) -> str:
    """How a publication ended, in one line."""
    words = {
        "committed": "Published",
        "landed": "Published (the answer of the Hub was lost; the commit was found there)",
        "nothing to do": "Nothing to do, published already",
    }
    verdict = "" if publication.passed else ", but what was read back is NOT what was sent"
    return f"{words[publication.case]}: {publication.url} at {publication.commit}{verdict}"


def _short(origin: str) -> str:
    """A source with seven digits of its commit."""
    name, at, revision = origin.partition("@")
    return f"{name}{at}{revision[:7]}"


def _edits(edits: Sequence[Any]) -> str:
    return ", ".join(f"line {edit.line}" for edit in edits)


def _files(plan: Plan) -> list[tuple[str, str, str]]:
    return [
        *((path, "rewritten", "") for path in plan.files.changed),
        *((path, "copied", "byte for byte") for path in plan.files.copied),
        *((path, "added", f"a copy of {origin}, where it is looked for") for path, origin in plan.files.added.items()),
        *((origin, "converted", f"to {path}, tensor by tensor") for path, origin in plan.files.converted.items()),
        *((path, "left out", reason) for path, reason in plan.files.dropped.items()),
    ]
