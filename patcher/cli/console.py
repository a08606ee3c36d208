"""The only place that prints: data on stdout, everything else on stderr; for people, as JSON, or quiet."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from patcher.cli.tables import (
    SWEEP_HEADERS,
    _edits,
    _files,
    _short,
    plan_line,
    publication_line,
    sweep_row,
    threshold_figures,
    verdicts,
)
from patcher.documents.formatting import number, percent, size
from patcher.errors import PatcherError
from patcher.printable import one_line, printable, printable_json

if TYPE_CHECKING:
    from rich.console import Console as Rich
    from rich.progress import TaskID
    from rich.text import Text

    from patcher.pipeline.family import Outcomes
    from patcher.planning.plan import Plan
    from patcher.publish import Checked, Finding, Publication, PublishPlan
    from patcher.threshold.report import ThresholdReport
    from patcher.verify.report import Check, Report


class Console:
    """Renders values. `as_json` prints one JSON object, `quiet` one line; otherwise tables and diffs."""

    def __init__(self, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    def listen(self) -> None:
        """Show what the package logs, on stderr, until another console listens."""
        logger = logging.getLogger("patcher")
        logger.handlers[:] = [_Talk(self)]
        logger.setLevel(logging.INFO)

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
        several = [str(device.environment["device"]) for device in report.devices]
        patched = ["patched"] if len(several) == 1 else [f"patched, {device}" for device in several]
        headers, rows = ("", "base", *patched, "limit", "verdict"), verdicts(report)
        if not report.base:  # the cap stays: there is one model, and nothing to hold it against
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


class _Talk(logging.Handler):
    """Hands what is logged to a console."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        self._console.talk(record.getMessage())


def _text(text: str, style: str = "") -> Text:
    """Words that are no markup."""
    from rich.text import Text

    return Text(text, style)
