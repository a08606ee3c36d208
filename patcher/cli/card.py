"""`patcher card`."""

from __future__ import annotations

from patcher.cli import hints
from patcher.cli import options as opt
from patcher.cli.app import app, examples
from patcher.cli.console import Console
from patcher.constants import SCHEMA_VERSION


@app.command(epilog=examples("card norbert4-splade"))
def card(folder: opt.FolderArgument, *, as_json: opt.Json = False, quiet: opt.Quiet = False) -> None:
    """Write the card, plots and page of a folder again.

    They are made from its record and its last report.
    """
    from patcher.patching.record import load
    from patcher.pipeline.folder import describe
    from patcher.verify.report import load_report

    console = Console(as_json=as_json, quiet=quiet).listen()
    model, report = load(folder), load_report(folder)
    path = str(describe(model, report, folder.resolve().name))
    console.result({"schema_version": SCHEMA_VERSION, "path": path}, path, lambda: [f"Wrote {path}"])
    console.hint(hints.after_report(report, folder, code_only=model.code_only))
