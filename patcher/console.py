"""The only place that prints: data on stdout, everything else on stderr; for people, as JSON, or quiet."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patcher.errors import PatcherError
from patcher.printable import one_line, printable, printable_json

if TYPE_CHECKING:
    from rich.console import Console as Rich
    from rich.progress import TaskID
    from rich.text import Text

    from patcher.pipeline.family import Outcome, Outcomes
    from patcher.planning.plan import Plan
    from patcher.publish import Checked, Finding, Publication, PublishPlan
    from patcher.threshold.report import ThresholdReport
    from patcher.threshold.sweep import Row
    from patcher.verify.report import Check, DeviceReport, Report


class Console:
    """Renders values. `as_json` prints one JSON object, `quiet` one line; otherwise tables and diffs."""

    def __init__(self, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    @cached_property
    def _out(self) -> Rich:
        from rich.console import Console as Rich

        # Where no terminal sets the width, tables stay whole: a log or a file scrolls sideways.
        return Rich(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)

    @cached_property
    def _err(self) -> Rich:
        from rich.console import Console as Rich

        return Rich(stderr=True, highlight=False, soft_wrap=True)

    def talk(self, text: str) -> None:
        """One line to the person, on stderr."""
        if not self.quiet:
            self._err.print(_text(printable(text)))

    def silence_client(self) -> None:
        """Let the client of the Hub say nothing where only data is wanted, otherwise only what takes long."""
        from huggingface_hub.utils.logging import set_verbosity_error
        from huggingface_hub.utils.tqdm import disable_progress_bars

        if self.quiet:
            set_verbosity_error()  # type: ignore[no-untyped-call]
        if self.quiet or self.as_json:
            disable_progress_bars()

    def error(self, error: PatcherError) -> None:
        """What is wrong and what to do, on stderr, whatever the mode."""
        from rich.text import Text

        self._err.print(Text.assemble(("Error: ", "bold red"), one_line(error.message)))
        self._err.print(Text.assemble(("Hint: ", "bold"), one_line(error.hint)))

    def result(self, data: Mapping[str, Any], line: str, human: Callable[[], None]) -> None:
        """The result of a command on stdout: `data` as JSON, `line` when quiet, otherwise what `human` renders."""
        if self.as_json:
            text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
            sys.stdout.write(printable_json(text) + "\n")
        elif self.quiet:
            sys.stdout.write(printable(line) + "\n")
        else:
            human()

    def line(self, text: str, style: str = "") -> None:
        """One line of a result on stdout, for people."""
        self._out.print(_text(printable(text), style))

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
        """A table of a result on stdout, for people; columns in `right` are aligned to the right."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for index, header in enumerate(headers):
            table.add_column(header, justify="right" if index in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*[_text(one_line(cell)) for cell in row])
        self._out.print(table)

    def diff(self, diff: str) -> None:
        """A unified diff on stdout, coloured where the terminal shows colours."""
        diff = printable(diff)
        if self._out.is_terminal:
            from rich.syntax import Syntax

            self._out.print(Syntax(diff, "diff", background_color="default", word_wrap=False))
        else:
            sys.stdout.write(diff)

    def plan(self, plan: Plan) -> None:
        """The diff, what each codemod did, and the table of files."""
        self.diff(plan.diff)
        if plan.diff:
            self.line("")
        rows = [
            (result.name, result.status.replace("_", " "), result.file, result.reason or _edits(result.edits))
            for result in plan.codemods
        ]
        self.table(("codemod", "status", "file", "where"), rows)
        self.line("")
        self.table(("file", "becomes", "why"), _files(plan))

    def report(self, report: Report) -> None:
        """One table: every figure and every check, base beside patched, against its limit. A column per device."""
        several = [str(device.environment["device"]) for device in _devices(report)]
        patched = ["patched"] if len(several) == 1 else [f"patched, {device}" for device in several]
        headers, rows = ("", "base", *patched, "limit", "verdict"), verdicts(report)
        if not report.before:  # the cap stays: there is one model, and nothing to hold it against
            ours = ["this model"] if len(several) == 1 else [f"this model, {device}" for device in several]
            headers, rows = ("", *ours, "limit", "verdict"), [(row[0], *row[2:]) for row in rows]
        self.table(headers, rows, right=range(1, len(headers) - 1))
        failed = [f"{check.name}: {check.detail}" for check in report.all_checks if not check.passed]
        if failed:
            self.line("")
        for line in dict.fromkeys(failed):
            self.line(line)

    @contextmanager
    def progress(self) -> Iterator[Callable[[str, int, int], None]]:
        """A bar on stderr for what takes over a second; only where a person looks at a terminal.

        Gives a function of device, texts done and texts in all.
        """
        if self.quiet or not self._err.is_terminal:
            yield lambda *_: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        begun = time.monotonic()
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("texts"),
            TimeRemainingColumn(),
            console=self._err,
            transient=True,
        )
        tasks: dict[str, TaskID] = {}

        def show(device: str, done: int, total: int) -> None:
            if device not in tasks:
                if time.monotonic() - begun < 1:
                    return
                bar.start()
                tasks[device] = bar.add_task(device, total=total)
            bar.update(tasks[device], completed=done)

        try:
            yield show
        finally:
            bar.stop()

    def checks(self, checks: Sequence[Check]) -> None:
        """One line per check, its value beside its limit."""
        rows = [
            ("passed" if check.passed else "FAILED", check.name, number(check.value), number(check.limit), check.detail)
            for check in checks
        ]
        self.table(("", "check", "value", "limit", "what the value is"), rows, right=(2, 3))

    def family(self, outcomes: Outcomes) -> None:
        """One line per model of a list, and the hints of those that failed."""
        rows = [
            (one.source, one.status, percent(one.logit_sparsity), one.checks, f"{one.seconds:.1f}", one.reason)
            for one in outcomes.all
        ]
        self.table(("repository", "status", "logit sparsity", "checks", "seconds", "reason"), rows, right=(2, 3, 4))
        for one in outcomes.all:
            if one.hint:
                self.talk(f"Hint for {one.source}: {one.hint}")

    def threshold(self, report: ThresholdReport) -> None:
        """The checks, the figures without and with the threshold, and the sweep where there was one."""
        self.checks(report.checks)
        if report.row is None:
            return
        self.line("")
        headers = ("figure", "raw metric, no threshold", f"threshold {report.threshold:g}")
        self.table(headers[: 3 if report.capped else 2], threshold_figures(report), right=(1, 2))
        if report.swept:
            self.line("")
            self.table(SWEEP_HEADERS, [sweep_row(row) for row in report.rows], right=range(len(SWEEP_HEADERS)))
            self.line("")
            from patcher.threshold.plot import curve

            for line in curve(report.rows[1:]):
                self.line(line)

    def publish_plan(self, plan: PublishPlan) -> None:
        """The diff, one line per operation and per kept file, and the sums."""
        self.diff(plan.diff)
        if plan.diff:
            self.line("")
        there = {"delete": "removed", "upload": "replaced", "copy": "replaced"}
        rows = [
            (one.op, one.path, _short(one.origin), size(one.size), there[one.op] if one.replaces else "new")
            for one in plan.operations
        ]
        rows += [("keep", path, "", "", f"kept: {reason}") for path, reason in plan.kept.items()]
        self.table(("operation", "path", "from", "size", "at the target"), rows, right=(3,))
        self.line("")
        self.line(plan_line(plan))
        for note in plan.notes:
            self.line(f"Note: {note}.")

    def publication(self, publication: Publication) -> None:
        """What was read back, the address, and how to load exactly this."""
        self.findings(publication.findings)
        self.line("")
        self.line(publication_line(publication), "" if publication.passed else "bold red")
        self.line("")
        self.line(publication.usage)

    def checked(self, checked: Checked) -> None:
        """What was found in a published model."""
        self.findings(checked.findings)
        self.line("")
        verdict = "is what its record says" if checked.passed else "is NOT what its record says"
        self.line(f"{checked.repo_id}@{checked.commit[:7]} {verdict}.", "" if checked.passed else "bold red")

    def findings(self, findings: Sequence[Finding]) -> None:
        """One line per finding."""
        words = {True: "passed", False: "FAILED", None: "open"}
        self.table(("", "check", "what was found"), [(words[one.passed], one.name, one.detail) for one in findings])

    def confirm(self, question: str) -> bool | None:
        """Ask once; None where nobody can answer (no terminal, JSON or quiet)."""
        if self.as_json or self.quiet or not sys.stdin.isatty():
            return None
        self._err.print(_text(printable(f"{question} [y/N] "), "bold"), end="")
        try:
            return input().strip().lower() in {"y", "yes"}
        except EOFError:
            return None


def _text(text: str, style: str = "") -> Text:
    """Words that are no markup."""
    from rich.text import Text

    return Text(text, style)


def number(value: float | None) -> str:
    """A value of a report for people: counts as they are, others with six significant digits."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def percent(value: float | None) -> str:
    """A share for people, with two decimals; never rounded up to 100 %."""
    if value is None:
        return "-"
    return f"{min(value * 100, 99.99) if value < 1 else 100:.2f} %"


def size(count: int) -> str:
    """A number of bytes for people, in powers of ten."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


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
    devices = _devices(report)
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


def _devices(report: Report) -> list[Report | DeviceReport]:
    return [report, *report.more_devices]


def figures(report: Report | DeviceReport) -> list[tuple[str, str, str]]:
    """The table before and after, row by row, as the terminal and the card show it."""

    def row(name: str, show: Callable[[Any], str], *keys: str) -> tuple[str, str, str]:
        return name, show(_at(report.before, keys)), show(_at(report.after, keys))

    rows = [
        row("smallest logit", _decimal, "min"),
        row("largest logit", _decimal, "max"),
        row("negative logits", percent, "negative_fraction"),
        row("logit sparsity", percent, "logit_sparsity"),
        row("embedding sparsity, mean", percent, "embedding_sparsity", "mean"),
        row("embedding sparsity, least", percent, "embedding_sparsity", "min"),
        row("active dims, mean", _decimal, "active_dims", "mean"),
        row("active dims, most", _decimal, "active_dims", "max"),
    ]
    if report.sparse_encoder is not None:
        theirs = report.sparse_encoder
        rows.append(
            (
                "SparseEncoder.sparsity(), sparsity_ratio",
                percent(theirs["before"]["sparsity_ratio"]),
                percent(theirs["after"]["sparsity_ratio"]),
            )
        )
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
        _decimal4(row.ndcg),
        _decimal4(row.mrr),
    )


def threshold_figures(report: ThresholdReport) -> list[tuple[str, ...]]:
    """The table of a threshold, row by row; only the first column of figures where none is needed."""
    plain, row = report.rows[0], report.row or report.rows[0]
    both = [
        ("query embedding sparsity, mean", percent(plain.query_sparsity), percent(row.query_sparsity)),
        ("query active dims, mean", _decimal(plain.query_active_dims), _decimal(row.query_active_dims)),
        ("document embedding sparsity, mean", percent(plain.document_sparsity), percent(row.document_sparsity)),
        ("document active dims, mean", _decimal(plain.document_active_dims), _decimal(row.document_active_dims)),
        ("nDCG@10", _decimal4(plain.ndcg), _decimal4(row.ndcg)),
        ("MRR@10", _decimal4(plain.mrr), _decimal4(row.mrr)),
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
    where = f"a pull request on {plan.repo_id}" if plan.wishes.create_pr else f"{plan.repo_id} ({target.revision})"
    seen = "private" if plan.wishes.private or target.private else "public"
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


def _decimal(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _decimal4(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _at(figures: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    value: Any = figures
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


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
