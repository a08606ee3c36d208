"""The only place that prints: data on stdout, everything else on stderr; for people, as JSON, or quiet."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from patcher.errors import PatcherError
from patcher.printable import one_line, printable, printable_json

if TYPE_CHECKING:  # rich takes a tenth of a second, which `--json` and `--quiet` do without
    from rich.console import Console as Rich
    from rich.progress import TaskID


@dataclass(frozen=True)
class Table:
    """Headers and rows of text; the columns in `right` are aligned to the right."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] = ()


class Diff(str):
    """A unified diff, coloured where the terminal shows colours, and an empty line after it."""


class Failure(str):
    """A line in bold red."""


class Console(logging.Handler):
    """Prints results and messages. `as_json` prints one JSON object, `quiet` one line; otherwise tables and diffs."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        super().__init__()
        self.as_json = as_json
        self.quiet = quiet

    def listen(self) -> Console:
        """Show on stderr what the package logs, from INFO on; `patcher.cli.main` ends that."""
        logger = logging.getLogger("patcher")
        logger.addHandler(self)
        logger.setLevel(logging.INFO)
        return self

    def emit(self, record: logging.LogRecord) -> None:
        """Print a log record as a message."""
        self.talk(record.getMessage())

    @cached_property
    def _out(self) -> Rich:
        # Where no terminal sets the width, tables keep theirs: a log or a file scrolls sideways.
        return _rich(stderr=False, width=None if sys.stdout.isatty() else 160)

    @cached_property
    def _err(self) -> Rich:
        return _rich(stderr=True)

    def talk(self, text: str) -> None:
        """Print a message on stderr, unless quiet."""
        if not self.quiet:
            self._err.print(printable(text))

    def error(self, error: PatcherError) -> None:
        """Print what is wrong and what to do on stderr, whatever the mode."""
        from rich.text import Text

        self._err.print(Text.assemble(("Error: ", "bold red"), one_line(error.message)))
        self._err.print(Text.assemble(("Hint: ", "bold"), one_line(error.hint)))

    def result(self, value: object, line: str, human: Callable[[], Iterable[Table | str]]) -> None:
        """Print a result on stdout: its JSON document, `line` when quiet, otherwise what `human` returns."""
        if self.as_json:
            from patcher.codec import document, json_text  # here: its library would slow every other command down

            sys.stdout.write(printable_json(json_text(document(value))))
        elif self.quiet:
            sys.stdout.write(printable(line) + "\n")
        else:
            self.show(human())

    def show(self, parts: Iterable[Table | str]) -> None:
        """Print tables, diffs and lines on stdout."""
        for part in parts:
            if isinstance(part, Table):
                self.table(part)
            elif isinstance(part, Diff):
                self._diff(printable(part))
            else:
                self._out.print(printable(part), style="bold red" if isinstance(part, Failure) else "")

    def table(self, table: Table) -> None:
        """Print a table on stdout."""
        from rich.table import Table as RichTable

        shown = RichTable(box=None, pad_edge=False, header_style="bold")
        for index, header in enumerate(table.headers):
            shown.add_column(header, justify="right" if index in table.right else "left", overflow="fold")
        for row in table.rows:
            shown.add_row(*map(one_line, row))
        self._out.print(shown)

    def _diff(self, diff: str) -> None:
        if not diff:
            return
        if self._out.is_terminal:
            from rich.syntax import Syntax

            self._out.print(Syntax(diff, "diff", background_color="default", word_wrap=False))
        else:
            sys.stdout.write(diff)
        self._out.print()

    @contextmanager
    def progress(self, unit: str) -> Iterator[Callable[[str, int, int], None]]:
        """Show a bar on stderr for what takes over a second; only on a terminal.

        Yields a function of a task's name, how many units of it are done, and how many there are.
        """
        if self.quiet or not self._err.is_terminal:
            yield lambda *_: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        started_at = time.monotonic()
        speed = TextColumn("{task.fields[per_second]:,.0f} per second")
        columns = (
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            speed,
            TimeRemainingColumn(),
        )
        bar = Progress(*columns, console=self._err, transient=True)
        tasks: dict[str, TaskID] = {}
        first: dict[str, tuple[int, float]] = {}  # done before the first call, and its time

        def show(name: str, done: int, total: int) -> None:
            before, since = first.setdefault(name, (done, time.monotonic()))
            per_second = (done - before) / max(time.monotonic() - since, 1e-3)
            if name not in tasks:
                if time.monotonic() - started_at < 1:
                    return
                bar.start()
                tasks[name] = bar.add_task(name, total=total, per_second=0.0)
            bar.update(tasks[name], completed=done, per_second=per_second)

        try:
            yield show
        finally:
            bar.stop()

    def confirm(self, question: str) -> bool | None:
        """Ask once; None where nobody can answer (no terminal, JSON or quiet)."""
        if self.as_json or self.quiet or not sys.stdin.isatty():
            return None
        self._err.print(printable(f"{question} [y/N] "), style="bold", end="")
        try:
            return input().strip().lower() in {"y", "yes"}
        except EOFError:
            return None

    @contextmanager
    def quiet_hub(self) -> Iterator[None]:
        """Silence huggingface_hub where only data is printed; restores its settings."""
        from huggingface_hub.utils.logging import get_verbosity, set_verbosity, set_verbosity_error
        from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

        with ExitStack() as restoring:
            restoring.callback(set_verbosity, get_verbosity())
            if self.quiet:
                set_verbosity_error()  # type: ignore[no-untyped-call]
            if (self.quiet or self.as_json) and not are_progress_bars_disabled():
                disable_progress_bars()
                restoring.callback(enable_progress_bars)
            yield


def _rich(*, stderr: bool, width: int | None = None) -> Rich:
    """A console of rich that never reads text as markup."""
    from rich.console import Console as Rich

    return Rich(stderr=stderr, width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)
