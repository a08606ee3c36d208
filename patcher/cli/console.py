"""The only place that prints: data on stdout, everything else on stderr; for people, programs, as JSON, or quiet."""

from __future__ import annotations

import io
import logging
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TextIO

from patcher.documents.formatting import size
from patcher.errors import PatcherError
from patcher.printable import one_line, printable, printable_json
from patcher.source.progress import LEVEL

if TYPE_CHECKING:  # rich takes a tenth of a second: it draws tables and bars, and nothing else needs it
    from rich.console import Console as Rich
    from rich.progress import Progress, TaskID

_WIDTH = 160  # where no terminal sets one: a log or a file scrolls sideways
_SHORT = 12  # characters of a cell that is not wrapped
_TRAILING = re.compile(r"\s+(?=(\x1b\[\d*m)*\s*$)|\s+$")
_RED, _GREEN, _CYAN, _BOLD = "31", "32", "36", "1"
_RUNNING: ContextVar[Running | None] = ContextVar("_RUNNING", default=None)


class Running(ExitStack):
    """What is undone at the end of a command.

    `words` are those of its command line, `agent` says whether a program reads what it prints.
    """

    def __init__(self, words: Sequence[str] = (), *, agent: bool = False) -> None:
        super().__init__()
        self.words, self.agent = words, agent
        self.callback(_RUNNING.reset, _RUNNING.set(self))


@dataclass
class _Task:
    """A task that may get a bar: how much was done at the first call, its time, and the bar."""

    before: int
    since: float
    id: TaskID | None = None


@dataclass(frozen=True)
class Table:
    """Headers and rows of text; the columns in `right` are aligned to the right."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] = ()


class Diff(str):
    """A unified diff, coloured as git does, and an empty line after it."""


class Failure(str):
    """A line in bold red."""


class Console(logging.Handler):
    """Prints results and messages. `as_json` prints one JSON object, `quiet` one line; otherwise tables and diffs.

    For an `agent` there are no colours, bars and questions, and tables have tabs between their columns.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, agent: bool = False) -> None:
        super().__init__()
        self.as_json, self.quiet, self.agent = as_json, quiet, agent
        self._stderr: TextIO | None = None
        self._bar: Progress | None = None
        self._tasks: dict[str, _Task] = {}
        self._shown: set[str] = set()  # the diffs that stand on the terminal

    def listen(self) -> Console:
        """Show on stderr what the package logs, and whole lines that libraries write there, until the command ends."""
        if (running := _RUNNING.get()) is not None:
            self.agent = self.agent or running.agent
            logger, self._stderr = logging.getLogger("patcher"), sys.stderr
            running.callback(partial(_restore, logger.level, self._stderr))
            running.callback(partial(logger.removeHandler, self))
            running.callback(self.stop_progress)
            logger.addHandler(self)
            logger.setLevel(LEVEL)
            sys.stderr = running.enter_context(_Library(self))
        return self

    @property
    def words(self) -> Sequence[str]:
        """The command line that is running, without the name of the program."""
        running = _RUNNING.get()
        return running.words if running is not None else ()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a log record as a message; one with `progress` (name, done, total, unit) moves a bar."""
        progress = getattr(record, "progress", None)
        if progress is not None:
            self._show(*progress)
        elif record.levelno >= logging.INFO:
            self.talk(record.getMessage())

    @property
    def asks(self) -> bool:
        """Whether somebody can answer a question."""
        return not (self.as_json or self.quiet or self.agent) and sys.stdin is not None and sys.stdin.isatty()

    @property
    def _err(self) -> TextIO:
        return self._stderr or sys.stderr

    def talk(self, text: str) -> None:
        """Print a message on stderr, unless quiet."""
        if not self.quiet:
            self._write(self._err, text)

    def hint(self, lines: Iterable[str]) -> None:
        """Print what can be done next, as messages."""
        for line in lines:
            self.talk(line)

    def error(self, error: PatcherError) -> None:
        """Print what is wrong and what to do on stderr, whatever the mode."""
        if not error.hint:
            self._write(self._err, one_line(error.message))
            return
        for title, text, style in (("Error: ", error.message, f"{_BOLD};{_RED}"), ("Hint: ", error.hint, _BOLD)):
            self._err.write(f"{self._styled(title, style, self._err)}{one_line(text)}\n")

    def result(self, value: object, line: str, human: Callable[[], Iterable[Table | str]]) -> None:
        """Print a result on stdout: its JSON document, `line` when quiet, otherwise what `human` returns."""
        self.stop_progress()
        if self.as_json:
            from patcher.codec import document, json_text  # here: its library would slow every other command down

            sys.stdout.write(printable_json(json_text(document(value))))
        elif self.quiet:
            sys.stdout.write(printable(line) + "\n")
        else:
            self.show(human())
        sys.stdout.flush()  # before the hints: in a file or a pipe of both streams they would come first

    def show(self, parts: Iterable[Table | str]) -> None:
        """Print tables, diffs and lines on stdout."""
        for part in parts:
            if isinstance(part, Table):
                self.table(part)
            else:
                self._write(sys.stdout, part)

    def _write(self, stream: TextIO, text: str) -> None:
        """Print a line, a failure or a diff."""
        self.stop_progress()
        if isinstance(text, Diff):
            if stream.isatty() and text in self._shown:  # before a question that was answered
                return
            self._shown.update([text] if stream.isatty() else [])
            for line in printable(text).splitlines():
                stream.write(f"{self._styled(line, _diff_style(line), stream)}\n")
            stream.write("\n" if text else "")
        else:
            style = f"{_BOLD};{_RED}" if isinstance(text, Failure) else ""
            for line in _wrapped(printable(text), stream):
                stream.write(f"{self._styled(line, style, stream)}\n")

    def table(self, table: Table) -> None:
        """Print a table on stdout, as wide as the terminal where its words allow that."""
        if self.agent:
            for row in (table.headers, *table.rows):
                sys.stdout.write("\t".join(one_line(cell).replace("\t", " ") for cell in row) + "\n")
            return
        from rich.table import Table as RichTable
        from rich.text import Text

        room = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDTH
        widths = _widths(table, room)
        shown = RichTable(box=None, pad_edge=False, header_style="bold")
        for index, (header, width) in enumerate(zip(table.headers, widths, strict=True)):
            shown.add_column(header, justify="right" if index in table.right else "left", overflow="fold", width=width)
        for row in table.rows:
            cells = map(one_line, row)
            shown.add_row(*(Text(cell, "bold red" if cell.startswith("FAILED") else "") for cell in cells))
        console = _rich(sys.stdout, sum(widths) + 2 * len(widths))
        with console.capture() as captured:
            console.print(shown)
        sys.stdout.write("".join(f"{_TRAILING.sub('', line)}\n" for line in captured.get().splitlines()))

    @contextmanager
    def progress(self, unit: str) -> Iterator[Callable[[str, int, int], None]]:
        """Show a bar on stderr for what takes over a second; only on a terminal.

        Yields a function of a task's name, how many units of it are done, and how many there are.
        """
        try:
            yield partial(self._show, unit=unit)
        finally:
            self.stop_progress()

    def _show(self, name: str, done: int, total: int, unit: str) -> None:
        """Move the bar of a task, which is drawn once the task has taken a second."""
        if self.quiet or self.as_json or self.agent or not self._err.isatty():
            return
        task = self._tasks.setdefault(name, _Task(done, time.monotonic()))
        elapsed = time.monotonic() - task.since
        if done >= total:
            self.stop_progress()
            return
        if self._bar is None:
            if elapsed < 1:
                return
            self._bar = _new_bar(self._err)
            self._bar.start()
        count: Callable[[int], str] = size if unit == "B" else "{:,}".format
        of = f"{count(done)}/{count(total)}{'' if unit == 'B' else f' {unit}'}"
        speed = int((done - task.before) / max(elapsed, 1e-3))
        shown = f"{of}, {count(speed)} per second" if speed else of
        if task.id is None:
            task.id = self._bar.add_task(name, total=total, completed=done, shown=shown)
        self._bar.update(task.id, completed=done, total=total, shown=shown)

    def stop_progress(self) -> None:
        """Erase the bar, so that what comes next begins a line."""
        bar, self._bar, self._tasks = self._bar, None, {}
        if bar is not None:
            bar.stop()

    def confirm(self, question: str) -> bool | None:
        """Ask once; None where nobody can answer (no terminal, or a mode that is not for people)."""
        self.stop_progress()
        if not self.asks:
            return None
        self._err.write(self._styled(printable(f"{question} [y/N] "), _BOLD, self._err))
        self._err.flush()
        try:
            return input().strip().lower() in {"y", "yes"}
        except EOFError:
            return None

    def _styled(self, text: str, style: str, stream: TextIO) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if style and text and not self.agent and _has_colours(stream) else text


class _Library(io.TextIOBase):
    """Stands in for stderr while a command runs: passes whole lines on as messages, and drops the bars of libraries."""

    def __init__(self, console: Console) -> None:
        self._console: Console | None = console
        self._line = ""

    def write(self, text: str) -> int:
        if self._console is None:  # a handler of a library that was imported by a command which ended
            return sys.stderr.write(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if line.strip() and "\r" not in line:
                self._console.talk(line)
        return len(text)

    def fileno(self) -> int:
        return (self._console._err if self._console else sys.stderr).fileno()

    def __exit__(self, *_: object) -> None:
        self._console = None


def _restore(level: int, stderr: TextIO) -> None:
    sys.stderr = stderr
    logging.getLogger("patcher").setLevel(level)


def _widths(table: Table, room: int) -> list[int]:
    """The width of each column: the widest is narrowed until all fit, and words are divided only as the last resort."""
    columns = list(zip(*((table.headers, *table.rows)), strict=True))
    widths = [max(map(_cells, column)) for column in columns]
    least = [
        max(map(_cells, ("", *header.split(), *(part for cell in cells for part in _parts(cell)))))
        for header, *cells in columns
    ]
    room -= 2 * (len(widths) - 1)
    while sum(widths) > room:
        # A header is wrapped before any cell is.
        widest = max(
            range(len(widths)),
            key=lambda at: (widths[at] > least[at], widths[at] > max(map(_cells, ("", *columns[at][1:]))), widths[at]),
        )
        if widths[widest] <= least[widest]:
            break
        widths[widest] -= 1
    # A sentence may quote code, which is one word and too long.
    sentences = [at for at, (_, *cells) in enumerate(columns) if any(len(_parts(cell)) > 1 for cell in cells)]
    while sentences and sum(widths) > room and widths[widest := max(sentences, key=widths.__getitem__)] > _SHORT:
        widths[widest] -= 1
    return widths


def _parts(cell: str) -> list[str]:
    """What is not divided: words, and short cells such as "241.8 kB" and "not needed"."""
    return [cell] if len(cell) <= _SHORT else cell.split()


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(one_line(text))


def _diff_style(line: str) -> str:
    """The style that git gives to a line of a diff."""
    if line.startswith(("---", "+++")):
        return _BOLD
    return {"-": _RED, "+": _GREEN, "@": _CYAN}.get(line[:1], "")


def _has_colours(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _new_bar(stream: TextIO) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.theme import Theme

    columns = ("{task.description}", BarColumn(20), TextColumn("{task.fields[shown]}"), TimeRemainingColumn())
    console = _rich(stream)
    # The terminal's own colour: those of rich are made for a dark background.
    console.push_theme(Theme({"bar.back": "dim", "bar.complete": "none", "progress.remaining": "none"}))
    return Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)


def _wrapped(text: str, stream: TextIO) -> list[str]:
    """The lines of a sentence on a terminal, which would divide a hash; commands and code stay as they are to copy."""
    room = shutil.get_terminal_size().columns
    copied = text.startswith((" ", "next: ", "or: ", "page: ", "record: ", "report: ")) or "`" in text or "\n" in text
    if copied or len(text) <= room or not stream.isatty():
        return [text]
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)


def _rich(stream: TextIO, width: int | None = None) -> Rich:
    """A console of rich that never reads text as markup."""
    from rich.console import Console as Rich

    return Rich(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)
