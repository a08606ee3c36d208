"""`patcher check`."""

from __future__ import annotations

from typing import Annotated

import typer

from patcher.cli import options as opt
from patcher.cli.app import app, examples, exit_with
from patcher.cli.console import Console
from patcher.cli.hub_client import quiet_client
from patcher.constants import HUB_TIMEOUT


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
    from patcher.cli import tables

    console = Console(as_json=as_json, quiet=quiet)
    console.listen()
    with quiet_client(console):
        found = publishing.check(repo_id, revision, retry=publishing.RetryPolicy(timeout))

    def human() -> None:
        console.table(tables.findings(found.findings))
        console.line()
        console.line(tables.checked_line(found), "" if found.passed else "bold red")

    console.result(found, "passed" if found.passed else "failed", human)
    exit_with(passed=found.passed)
