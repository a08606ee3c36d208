"""`patcher card`."""

from __future__ import annotations

from patcher.cli import options as opt
from patcher.cli.app import app, examples
from patcher.cli.console import Console
from patcher.constants import SCHEMA_VERSION


@app.command(epilog=examples("card norbert4-splade"))
def card(folder: opt.FolderArgument, *, as_json: opt.Json = False, quiet: opt.Quiet = False) -> None:
    """Write README.md again from the plan and the last report, with the report's plots and page."""
    from patcher.patching.record import load
    from patcher.pipeline.api import describe
    from patcher.verify.report import load_report

    console = Console(as_json=as_json, quiet=quiet).listen()
    path = str(describe(load(folder), load_report(folder), folder.resolve().name))
    console.result({"schema_version": SCHEMA_VERSION, "path": path}, path, lambda: [f"Wrote {path}"])
