"""`patcher templates`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from patcher.cli import options as opt
from patcher.cli.app import app, examples
from patcher.cli.console import Console
from patcher.constants import SCHEMA_VERSION


@app.command(epilog=examples("templates my-training"))
def templates(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write to.", show_default=False)],
    *,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write the training files and card templates to edit."""
    from patcher.documents.templating import copy_templates

    console = Console(as_json=as_json, quiet=quiet).listen()
    written = copy_templates(folder)
    result = {"schema_version": SCHEMA_VERSION, "path": str(folder), "files": written}
    console.result(result, str(folder), lambda: [f"Wrote {len(written)} files into {folder}."])
    training = ["python", str(folder / "train_splade.py"), str(folder / "training_config.yaml")]
    console.hint([f"next: {shlex.join(training)}"])
