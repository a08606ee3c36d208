"""The Typer app, to which each command adds itself: its help in plain text, and the formats of its output."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from patcher import __version__
from patcher.cli.console import Running
from patcher.errors import UsageError

ORDER = (
    *("plan", "patch", "repair", "verify", "card", "publish", "check"),
    *("templates", "threshold", "encode", "search", "evaluate", "export"),
)
FORMATS = ("human", "agent", "json", "quiet")
AGENT, WORDS = "patcher.agent", "patcher.words"  # in the context of a command: see `Running`
OUTPUT = "Formatting options"
_OTHERS = {"--json": "json", "--quiet": "quiet", "-q": "quiet"}  # short forms
_CODES = """Exit codes:
  0    passed, or done
  1    failed a check
  2    wrong usage
  3    could not be done or measured
  130  interrupted"""
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]  # UsageError, of click or of the copy in typer
_RANGE = re.compile(r"(; )?([\d.]+<=?)?x(<=?|>=?)[\d.]+")  # which the words of the help say


class _PlainEpilog:
    """Help that ends with lines as they were written."""

    epilog: str | None

    def format_epilog(self, _ctx: Any, formatter: Any) -> None:
        """Write the examples and the exit codes."""
        for part in filter(None, (self.epilog, _CODES)):
            formatter.write_paragraph()
            formatter.write(f"{part}\n")


class Command(_PlainEpilog, TyperCommand):
    """A command whose options are listed in groups, and which knows `--format`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Replace `--format` by what it stands for. Raises UsageError for a value that is none of `FORMATS`."""
        plain, chosen = _split_format(args)
        ctx.meta[WORDS] = [str(ctx.info_name), *(word for word in plain if word not in _OTHERS)]
        if chosen == "agent":
            ctx.meta[AGENT] = True
        flags = {"json": ["--json"], "quiet": ["--quiet"]}.get(chosen or "", [])
        for word in plain[: plain.index("--") if "--" in plain else None]:
            if chosen and _OTHERS.get(word, chosen) != chosen:
                raise UsageError(f"--format {chosen} and {word} can't be combined.", "Leave one of them out.")
        try:
            return super().parse_args(ctx, [*flags, *plain])
        except _USAGE_ERROR as error:
            error.ctx = error.ctx or ctx  # which command's help explains it
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after the command's name, without the braces that some versions of typer write."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def invoke(self, ctx: Any) -> Any:
        """Run the command, and undo what its console changed in this process."""
        with Running(ctx.meta[WORDS], agent=AGENT in ctx.meta):
            try:
                return super().invoke(ctx)
            except BrokenPipeError as error:  # click would end with 1, which is that of a failed check
                sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
                raise typer.Exit(3) from error

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then each group of options."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            record = _plain(param.get_help_record(ctx))
            if record is not None:
                own = "Arguments" if param.param_type_name == "argument" else "Options"
                groups.setdefault(getattr(param, "rich_help_panel", None) or own, []).append(record)
        values = "|".join(FORMATS)
        shown = groups.pop(OUTPUT, [])
        groups[OUTPUT] = [(f"--format [{values}]", "How to print results; human by default."), *shown]
        for title, records in groups.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class _Ordered(_PlainEpilog, TyperGroup):
    """The commands in the order in which they are used."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options before the command. Raises UsageError where a shell's completion could not be written."""
        try:
            return super().parse_args(ctx, args)
        except typer.Exit as end:
            if end.exit_code:  # 1, which is that of a failed check
                shells = "Run it in bash, zsh, fish or PowerShell."
                raise UsageError("There is no completion for this shell.", shells) from end
            raise

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=ORDER.index)


class _App(typer.Typer):
    def command(self, *args: Any, **options: Any) -> Callable[..., Any]:
        return super().command(*args, cls=Command, **options)


app = _App(
    name="patcher",
    cls=_Ordered,
    help="Remove the soft cap of a NorBERT4 masked-LM head, repair its code for transformers 5, and verify the result.",
    epilog="Learn more:\n  `patcher COMMAND --help` shows examples of that command.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: panels cut the names of options at 80 columns
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def examples(*commands: str) -> str:
    """The last lines of a command's help: commands to copy and paste."""
    return "\n".join(("Examples:", *(f"  $ patcher {command}" for command in commands)))


def _split_format(args: list[str]) -> tuple[list[str], str | None]:
    """The words of a command without `--format`, and its value. Raises UsageError."""
    plain, chosen, words = [], None, iter(args)
    for word in words:
        if word == "--":
            plain += [word, *words]
        elif word == "--format" or word.startswith("--format="):
            chosen = word.partition("=")[2] if "=" in word else next(words, "")
            if chosen not in FORMATS:
                raise UsageError(f"{chosen!r} is not an output format.", f"Use one of {', '.join(FORMATS)}.")
        else:
            plain.append(word)
    return plain, chosen


def _plain(record: tuple[str, str] | None) -> tuple[str, str] | None:
    """A line of help without what only programmers read: the type of an argument, the bounds of a number."""
    if record is None:
        return None
    text = _RANGE.sub("", record[1]).replace("[]", "").strip()
    return re.sub(r" <\w+>$", "", record[0]), re.sub(r"(default: \d+)\.0\]", r"\1]", text)


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"splade-patcher {__version__}")
        raise typer.Exit()


@app.callback()
def patcher(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""
