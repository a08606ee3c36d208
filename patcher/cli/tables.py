"""Values as tables and as lines, for the terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from patcher.cli.console import Diff, Failure, Table
from patcher.constants import CARD, THRESHOLD
from patcher.documents.formatting import decimal, decimal4, number, percent, size

if TYPE_CHECKING:  # each serves one command, and the others do not import it
    from patcher.pipeline.api import Patched
    from patcher.pipeline.family import Outcome, Outcomes
    from patcher.planning.plan import Plan
    from patcher.publish import Checked, Finding, Publication, PublishPlan
    from patcher.threshold.messages import Row
    from patcher.threshold.report import ThresholdReport
    from patcher.verify.report import Check, Report

_COMMIT = re.compile(r"@([0-9a-f]{7})[0-9a-f]{33}\b")
SATURATED = 0.99  # nDCG@10
_VERDICTS = {True: "passed", False: "FAILED", None: "unchecked"}


def plan(plan: Plan) -> Iterator[Table | str]:
    """The diff, what each codemod does, and what becomes of each file of the source."""
    yield Diff(plan.diff)
    codemods = []
    for result in plan.codemods:
        where = result.reason or ", ".join(f"line {edit.line}" for edit in result.edits)
        codemods.append((result.name, result.status.replace("_", " "), result.file, where))
    yield Table(("codemod", "status", "file", "where"), codemods)
    if any(one.name == "drop_bos" and one.status == "applied" for one in plan.codemods):
        yield (
            "drop_bos: the cap stays, so every token is active in every vector; this saves nothing until a threshold "
            "makes zeros."
            if plan.kept_cap
            else "drop_bos: the bos token is active in every vector. Without its row, an index holds one posting fewer "
            "for each document, a query no longer matches every document, and rankings stay the same unless another "
            "position activates that token."
        )
    yield ""
    found = plan.files
    files = [
        *((path, "rewritten", "") for path in found.changed),
        *((path, "copied", "byte for byte") for path in found.copied),
        *(
            (path, "added", f"a copy of {origin}, where transformers looks for it")
            for path, origin in found.added.items()
        ),
        *((origin, "converted", f"to {path}, tensor by tensor") for path, origin in found.converted.items()),
        *((path, "left out", reason) for path, reason in found.dropped.items()),
    ]
    yield Table(("file", "becomes", "why"), files)


def nothing_line(plan: Plan) -> str:
    """Why there is nothing to patch."""
    if plan.already_patched and plan.soft_cap:
        return f"{plan.source} is already patched: `{plan.soft_cap.expression}` {plan.soft_cap.done}. Nothing to do."
    return f"{plan.source}: {plan.nothing_to_do}. Nothing to do."


def patched(done: Patched, out: Path) -> Iterator[Table | str]:
    """The diff of a folder that was written to `out`, its report where it was verified, and what it leaves out."""
    from patcher.planning.files import left_out
    from patcher.verify.checks import shortened

    yield Diff(done.plan.diff)
    if done.report is None:
        yield f"Written: {out} (not verified; run `patcher verify {out}` before you use it)"
    else:
        yield from verification(done.report, out)
    if names := tuple(left_out(done.plan.files.dropped)):
        yield f"Left out: {shortened(names)} ({CARD} says why)"


def verification(found: Report, folder: Path) -> Iterator[Table | str]:
    """The tables of a report on `folder`, the verdict, and what can be done after a failed threshold check."""
    from patcher.documents import advice

    if (measured := figures(found)).rows:
        yield from (measured, "")
    yield checks(found)
    failed = dict.fromkeys(f"{check.name}: {check.detail}" for check in found.all_checks if not check.passed)
    yield from ("", *failed) if failed else ()
    yield ""
    if found.passed:
        yield f"Verified: {folder} passed all {len(found.all_checks)} checks."
    else:
        yield Failure(f"FAILED: {folder} did not pass {', '.join(check.name for check in found.failed)}.")
    advised = advice.advise(found, str(folder))
    yield from advice.lines(advised) if advised is not None else ()


def figures(report: Report) -> Table:
    """Every figure: of the base, and of the patched model on each device. A kept cap has no base model."""
    from patcher.documents.checks import figure_rows

    model = "patched" if report.base else "this model"
    headers = ["figure", "base", *_by_device(report, model)]
    rows: list[tuple[str, ...]] = [(name, base, *values) for name, base, values in figure_rows(report)]
    if not report.base:
        headers, rows = ["figure", *headers[2:]], [(row[0], *row[2:]) for row in rows]
    return Table(headers, rows, right=range(1, len(headers)))


def checks(report: Report) -> Table:
    """Every check: its verdict, its value on each device, its limit, and what the value counts if there is room."""
    from patcher.documents.checks import check_rows

    values = _by_device(report, "value")
    words = len(values) == 1  # 80 columns hold the values of two devices or the words
    headers = ("", "check", *values, "limit", *(["what the value is"] if words else []))
    rows = [
        (_VERDICTS[row.check.passed], row.check.name, *row.values, row.plain_limit, *([row.counted] if words else []))
        for row in check_rows(report)
    ]
    return Table(headers, rows, right=range(2, 3 + len(values)))


def _by_device(report: Report, name: str) -> list[str]:
    devices = [str(device.environment["device"]) for device in report.devices]
    return [name] if len(devices) == 1 else [f"{name}, {device}" for device in devices]


def family(outcomes: Outcomes) -> Iterator[Table | str]:
    """How each model of a list ended, what it cost, and why where it was not simply patched."""
    ended = [(_short(one.source), one.status, one.checks, percent(one.logit_sparsity)) for one in outcomes.all]
    costs = [
        (
            one.source.partition("@")[0],
            f"{one.seconds:,.1f}",
            size(one.need.downloaded),
            size(one.need.written),
        )
        for one in outcomes.all
    ]
    yield Table(("repository", "status", "checks", "logit sparsity"), ended, right=(2, 3))
    yield ""
    yield Table(("repository", "seconds", "downloaded", "written"), costs, right=(1, 2, 3))
    if reasons := [f"{_short(one.source)}: {one.reason}" for one in outcomes.all if one.reason]:
        yield from ("", *reasons)


def family_line(outcome: Outcome) -> str:
    """One model of a list in one line: its status, its source, and its folder or why it has none."""
    return "\t".join((outcome.status, outcome.source, outcome.reason or str(outcome.entry.out)))


def publish_plan(plan: PublishPlan) -> Iterator[Table | str]:
    """The diff of a publication, one row for each operation and for each file that is kept at the target, its notes."""
    yield Diff(plan.diff)
    there = {"delete": "removed", "upload": "replaced", "copy": "replaced"}
    sources = dict.fromkeys(_short(one.origin) for one in plan.operations if one.op == "copy")
    rows = [
        (
            one.op,
            one.path,
            "the source" if one.op == "copy" else one.origin,
            size(one.size),
            there[one.op] if one.replaces else "new",
        )
        for one in plan.operations
    ]
    rows += [("keep", path, "", "", f"kept: {reason}") for path, reason in plan.kept.items()]
    yield Table(("operation", "path", "from", "size", "at the target"), rows, right=(3,))
    yield from ("", *(f"The source of what the Hub copies: {source}" for source in sources))
    yield from (plan_line(plan), *(f"Note: {note}." for note in plan.notes))


def plan_line(plan: PublishPlan) -> str:
    """A publication in one line: what it transfers, and its target."""
    target = plan.target
    if plan.case == "equal":
        return f"{plan.repo_id} already holds exactly this, at {str(target.head)[:7]}. Nothing to commit."
    where = f"a pull request on {plan.repo_id}" if plan.options.create_pr else f"{plan.repo_id} ({target.revision})"
    visibility = "private" if plan.options.private or target.private else "public"
    cases = {
        "new": "new",
        "update": "an update of an earlier publication",
        "replace": "REPLACING what is there",
        "repair": "the repaired code alone",
    }
    return (
        f"One commit as {plan.account.name} to {where}, {visibility}, {cases[plan.case]}: "
        f"uploads {size(plan.bytes_uploaded)}, the Hub copies {size(plan.bytes_copied)}."
    )


def publication(publication: Publication) -> Iterator[Table | str]:
    """What was found of a publication, how it ended, and how to load it."""
    words = {
        "committed": "Published",
        "landed": "Published (the response of the Hub was lost; the commit was found there)",
        "nothing to do": "Nothing to do, already published",
    }
    line = f"{words[publication.case]}: {publication.url} at {publication.commit}"
    yield _findings(publication.findings)
    yield from ("", line if publication.passed else Failure(f"{line}, but read-back mismatch"), "", publication.usage)


def checked(checked: Checked) -> Iterator[Table | str]:
    """What was found of a published model, and whether it matches its record."""
    model = f"{checked.repo_id}@{checked.commit[:7]}"
    yield _findings(checked.findings)
    yield ""
    lines = {
        "passed": f"{model} matches its record.",
        "failed": Failure(f"{model} does NOT match its record."),
    }
    yield lines.get(checked.outcome, f"{model} could not be checked completely; what was checked is fine.")


def _findings(findings: Sequence[Finding]) -> Table:
    rows = [(_VERDICTS[one.passed], one.name, _COMMIT.sub(r"@\1", one.detail)) for one in findings]
    return Table(("", "check", "what was found"), rows)


def threshold(report: ThresholdReport, model: str, save: Path | None, *, saved: bool) -> Iterator[Table | str]:
    """The checks, the figures without and with the threshold, the sweep where there was one, and the verdict."""
    from patcher.threshold.plot import curve

    yield _checks(report.checks)
    if report.row is not None:
        yield from ("", _threshold_figures(report, report.row))
        if report.evaluation.graded:
            yield "Relevance above 1 counts as 1 in these figures, as for the evaluators of sentence-transformers."
    if report.capped and report.evaluation.expected and report.row is not None:
        yield from ("", _expectations(report))
    if report.row is not None and report.swept:
        yield from ("", _sweep(report.rows), "")
        yield from (_sweep(beside), "") if (beside := _beside(report)) else ()
        yield from curve(report.rows)
    yield from ("", *_threshold_lines(report, model, save, saved=saved))


def _checks(checks: Sequence[Check]) -> Table:
    """One row for each check, its value beside its limit."""
    rows = [(_VERDICTS[one.passed], one.name, number(one.value), number(one.limit), one.detail) for one in checks]
    return Table(("", "check", "value", "limit", "what the value is"), rows, right=(2, 3))


def _threshold_figures(report: ThresholdReport, row: Row) -> Table:
    """The figures of a point, beside those of the unpruned model with its cap and without it, where these were run."""
    figures: dict[str, Callable[[Row], str]] = {
        "query embedding sparsity, mean": lambda row: percent(row.query_sparsity),
        "query active dims, mean": lambda row: decimal(row.query_active_dims),
        "document embedding sparsity, mean": lambda row: percent(row.document_sparsity),
        "document active dims, mean": lambda row: decimal(row.document_active_dims),
        "FLOPS, mean": lambda row: decimal(row.flops),
        "postings read per query, mean": lambda row: decimal(row.postings_per_query),
        "index": lambda row: size(row.index_bytes),
        "nDCG@10": lambda row: decimal4(row.ndcg),
        "95 % interval": _interval,
        "MRR@10": lambda row: decimal4(row.mrr),
        "recall@10": lambda row: decimal4(row.recall),
        "same top 10": lambda row: percent(row.exact),
        "Kendall's tau, mean over top 10": lambda row: decimal4(row.tau.mean),
    }
    shown = {"no threshold": report.rows[0]}
    if report.capped:
        shown[f"threshold {report.point}{' in the code' * report.in_code}"] = row
    if report.without_cap is not None:
        shown["cap removed, no threshold"] = report.without_cap
    rows = [(name, *map(show, shown.values())) for name, show in figures.items()]
    if report.bm25 is not None:
        given = {name.lower(): decimal4(value) for name, value in report.bm25.items()}
        rows = [(*row, given.get(row[0].lower(), "")) for row in rows]
        return Table(("figure", *shown, "BM25"), rows, right=range(1, 5))
    return Table(("figure", *shown), rows, right=range(1, 4))


def _expectations(report: ThresholdReport) -> Table:
    """Three questions and two figures at the usual threshold, beside what a long training gave; not judged."""
    usual = next(row for row in report.rows if row.threshold == THRESHOLD)
    rows = [
        (f"rank of the right document: {report.evaluation.queries[query]}", *(number(one) for one in ranks), "1, 1")
        for query, ranks in ((query, (report.rows[0].ranks[query], rank)) for query, rank in usual.ranks.items())
    ]
    figures: dict[str, tuple[Callable[[Row], str], str]] = {
        "query embedding sparsity": (lambda row: percent(row.query_sparsity), ">= 99.1 %"),
        "document embedding sparsity": (lambda row: percent(row.document_sparsity), ">= 99.7 %"),
        "same top 10": (lambda row: percent(row.exact), "rankings kept"),
    }
    rows += [(name, show(report.rows[0]), show(usual), expected) for name, (show, expected) in figures.items()]
    return Table(
        ("for comparison", "no threshold", f"threshold {THRESHOLD:g}", "after long training"), rows, right=(1, 2)
    )


def _beside(report: ThresholdReport) -> list[Row]:
    """The points that vary one side about the checked one, those with a top k, and the recommended one."""
    from patcher.threshold.sweep import SIDE

    query, document = (
        min(SIDE, key=lambda one: abs(one - side)) for side in (report.point.query, report.point.document)
    )
    return [
        row
        for row in report.more_rows
        if row.point.query == query
        or row.point.document == document
        or row.point in (report.point, report.best)
        or row.point.query_top_k
        or row.point.document_top_k
    ]


def _sweep(rows: Sequence[Row]) -> Table:
    """One row for each point of a sweep: what is judged, and FLOPS for its costs; the JSON has the other figures."""
    columns: dict[str, Callable[[Row], str]] = {
        "threshold": lambda row: row.point.short,
        "query sparsity": lambda row: percent(row.query_sparsity),
        "document sparsity": lambda row: percent(row.document_sparsity),
        "FLOPS": lambda row: decimal(row.flops),
        "nDCG@10": lambda row: decimal4(row.ndcg),
        "95 % interval": partial(_interval, decimals=3),
        "same top 10": lambda row: percent(row.exact),
    }
    return Table(
        tuple(columns), [[cell(row) for cell in columns.values()] for row in rows], right=range(1, len(columns))
    )


def _interval(row: Row, decimals: int = 4) -> str:
    """The bounds as one word, which no column divides."""
    found = row.ndcg_interval
    return f"{found.low:.{decimals}f}–{found.high:.{decimals}f}" if found else "-"


def _threshold_lines(report: ThresholdReport, model: str, save: Path | None, *, saved: bool) -> Iterator[str]:
    """The verdict: which code the weights fit, what the sweep recommends, what failed, and what to do next."""
    row = report.row
    failed = ", ".join(check.name for check in report.checks if not check.passed)
    if not report.capped and row is not None and not failed:
        cap = report.soft_cap
        yield f"The cap in the code of {model}, `{cap.expression}`, {cap.done}, so the model needs no threshold."
        yield (
            f"SparseEncoder.sparsity(): {percent(row.query_sparsity)} zeros in queries, "
            f"{percent(row.document_sparsity)} in documents."
        )
        return
    yield from _fit_lines(report, model)
    best = report.row_at(report.best)
    if best is not None:
        yield (
            f"Recommended: {best.point}; of {len(report.rows) + len(report.more_rows) - 1} points, it is the cheapest "
            f"that loses at most {report.tolerance:.1%} of each metric and reaches the sparsity limits; FLOPS "
            f"{decimal(best.flops)}, embedding sparsity {percent(best.query_sparsity)} for queries, "
            f"{percent(best.document_sparsity)} for documents."
        )
        if (report.rows[0].ndcg or 0) > SATURATED:
            yield "These questions are too easy without a threshold to show what a threshold costs."
    elif report.swept:
        why = "no point keeps the metrics and reaches the sparsity limits" if report.evaluation.judged else _UNJUDGED
        yield f"Recommended: none; {why}."
    if not failed:
        unjudged = "" if report.evaluation.judged else f" (retrieval was not judged: {_UNJUDGED})"
        point = f"{report.point}{' in its code' * report.in_code}"
        yield f"Passed all {len(report.checks)} checks{unjudged}: use {model} with a threshold of {point}."
        yield f"Saved: {save}" if saved else "`--save DIR` writes a copy with the threshold built in."
        return
    yield f"FAILED: at a threshold of {report.point} {model} did not pass {failed}."
    if not report.swept and report.capped and report.fit != "without_cap":
        yield "`--sweep` shows what other thresholds do."
    if save:
        yield f"Saved all the same: {save}" if saved else f"{save} was not written; --force writes it all the same."


_UNJUDGED = "there are no relevance judgements; add them with --qrels"


def _fit_lines(report: ThresholdReport, model: str) -> Iterator[str]:
    """Which code the weights fit, with the figures that say so, and the remedy where that is not the code they have."""
    capped, other = (report.rows[0] if report.rows else None), report.without_cap
    if capped is None or other is None or report.fit is None:
        if report.capped:
            yield f"Whether the weights fit their cap is not known: {_UNJUDGED}."
        return
    figures = (
        f"nDCG@10 {decimal4(capped.ndcg)} with it, {decimal4(other.ndcg)} without it (where "
        f"query and document sparsity are {percent(other.query_sparsity)} and {percent(other.document_sparsity)})"
    )
    if report.fit == "with_cap":
        yield f"Its weights fit the cap in its code: {figures}. A threshold is the remedy."
    elif report.fit == "without_cap":
        yield f"Its weights do NOT fit the cap in its code: {figures}. To remove the cap:"
        yield f"  patcher patch {model} --out DIR --trained-without-cap"
    else:
        yield f"These questions do not show whether its weights fit the cap: {figures}."
        yield "More of them may (--queries, --documents, --qrels); until then the model is measured with its cap."


def _short(origin: str) -> str:
    """A source with seven digits of its commit."""
    name, at, revision = origin.partition("@")
    return f"{name}{at}{revision[:7]}"
