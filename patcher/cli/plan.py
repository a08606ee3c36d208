"""`patcher plan`."""

from __future__ import annotations

from patcher.cli import options as opt
from patcher.cli.app import app, examples
from patcher.cli.console import Console


@app.command(epilog=examples("plan ltg/norbert4-base", "plan ./norbert4-base --json"))
def plan(
    source: opt.SourceArgument,
    *,
    revision: opt.Revision = None,
    also_causal_lm: opt.AlsoCausal = False,
    checkpointing: opt.Checkpointing = False,
    codemod: opt.Codemods = [],  # noqa: B006 - typer reads it
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Show what would change: the diff and the table of files. Writes nothing, runs no model code, needs no weights."""
    from patcher.cli import tables
    from patcher.planning.plan import make_plan
    from patcher.planning.rewriting import Options
    from patcher.source.snapshot import resolve

    console = Console(as_json=as_json, quiet=quiet)
    console.listen()
    options = Options.choose(codemod, also_causal_lm=also_causal_lm, checkpointing=checkpointing)
    made = make_plan(resolve(source, revision), options)

    def human() -> None:
        console.diff(made.diff)
        console.table(tables.codemods(made))
        console.line()
        console.table(tables.files(made))

    console.result(made, str(made.source), human)
    if made.nothing_to_do:
        console.talk(tables.nothing_line(made))
