"""The Typer app, to which each command adds itself, and what several commands do."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from patcher import __version__
from patcher.cli.console import Console
from patcher.errors import TrustRequired

ORDER = (
    "plan",
    "patch",
    "repair",
    "verify",
    "card",
    "publish",
    "check",
    "threshold",
    "encode",
    "search",
    "evaluate",
    "export",
)


class _Ordered(TyperGroup):
    """The commands in the order in which they are used."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=ORDER.index)


app = typer.Typer(
    name="patcher",
    cls=_Ordered,
    help="Remove the soft cap of a NorBERT4 masked-LM head, repair its code for transformers 5, and prove both.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain text: panels cut the names of options at 80 columns
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def examples(*commands: str) -> str:
    """The last lines of a command's help: commands to copy and paste."""
    return "\n".join(("\b", "Examples:", *(f"  $ patcher {command}" for command in commands)))


def require_trust(console: Console, code: Mapping[str, bytes], source: str, *, trusted: bool) -> None:
    """Require consent to run `code`: by the flag, or at a prompt that lists the files and their SHA-256.

    Raises TrustRequired.
    """
    if trusted:
        return
    if sys.stdin.isatty():
        console.talk(f"This runs code of {source}:")
        for path, content in sorted(code.items()):
            console.talk(f"  {hashlib.sha256(content).hexdigest()}  {path}")
    if not console.confirm("Run it?"):
        raise TrustRequired(
            "This runs the model's own code, which was not confirmed.",
            "Read it with `patcher plan`, then add --trust-remote-code (or --no-verify to `patcher patch`).",
        )


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
