"""`patcher check`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from patcher.cli import hints, tables
from patcher.cli import options as opt
from patcher.cli.app import app, examples
from patcher.cli.console import Console
from patcher.constants import HUB_TIMEOUT
from patcher.errors import UsageError


@app.command(epilog=examples("check me/norbert4-splade", "check me/norbert4-splade@v1 --json"))
def check(
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID[@REV]", help="A published model.", show_default=False)],
    *,
    revision: opt.Revision = None,
    timeout: opt.HubTimeout = HUB_TIMEOUT,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Check a published model against its record and its source. Runs no model code, needs no weights."""
    from patcher import publish as publishing

    console = Console(as_json=as_json, quiet=quiet).listen()
    _refuse_folder(repo_id)
    found = publishing.check(repo_id, revision, retry=publishing.RetryPolicy(timeout))
    console.result(found, found.outcome, lambda: tables.checked(found))
    console.hint(hints.after_check(found))
    raise typer.Exit({"passed": 0, "failed": 1}.get(found.outcome, 3))


def _refuse_folder(repo_id: str) -> None:
    """Refuse a folder: what it holds can only be verified. Raises UsageError."""
    if Path(repo_id).exists():
        why = f"{repo_id} is a path on this machine; `patcher check` is for a model on the Hub."
        raise UsageError(why, f"`patcher verify {shlex.quote(repo_id)}` checks a patched folder.")
