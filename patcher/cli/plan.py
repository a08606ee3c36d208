"""`patcher plan`."""

from __future__ import annotations

from patcher.cli import hints, tables
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
    trained_without_cap: opt.TrainedWithoutCap = False,
    drop_bos: opt.DropBos = False,
    codemod: opt.Codemods = [],  # noqa: B006 - typer reads it
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Show what would change: the diff and the table of files. Writes nothing, runs no model code, needs no weights."""
    from patcher.planning.options import Options
    from patcher.planning.plan import make_plan
    from patcher.source.snapshot import resolve

    console = Console(as_json=as_json, quiet=quiet).listen()
    options = Options.choose(
        codemod,
        also_causal_lm=also_causal_lm,
        checkpointing=checkpointing,
        trained_without_cap=trained_without_cap,
        drop_bos=drop_bos,
    )
    made = make_plan(resolve(source, revision), options)
    console.result(made, str(made.source), lambda: tables.plan(made))
    if made.nothing_to_do:
        console.talk(tables.nothing_line(made))
    console.hint(hints.after_plan(made, source, [word for word in console.words[1:] if word != source]))
