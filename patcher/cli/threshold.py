"""`patcher threshold`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from patcher.cli import hints, tables
from patcher.cli import options as opt
from patcher.cli.app import app, examples
from patcher.cli.consent import require_trust
from patcher.cli.console import Console
from patcher.constants import THRESHOLD, VERIFY_TIMEOUT


@app.command(
    epilog=examples(
        "threshold me/norbert4-splade --sweep --plot sweep.png",
        "threshold me/norbert4-splade --threshold 0.02 --save norbert4-sparse",
    )
)
def threshold(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A trained SparseEncoder model: Hub id or folder.", show_default=False),
    ],
    *,
    revision: opt.Revision = None,
    chosen: Annotated[
        float, typer.Option("--threshold", metavar="NUMBER", help="Activations below it become 0.")
    ] = THRESHOLD,
    sweep: Annotated[bool, typer.Option("--sweep", help="Try many thresholds and recommend one.")] = False,
    queries: Annotated[
        Path | None, typer.Option(metavar="FILE", help='Your own queries: .jsonl with "id" and "text".')
    ] = None,
    documents: Annotated[
        Path | None, typer.Option(metavar="FILE", help='Your own documents: .jsonl with "id" and "text".')
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help='Relevance judgements: TREC qrels, or .jsonl with "query" and "document".'),
    ] = None,
    trust_remote_code: opt.Trust = False,
    device: opt.Device = "auto",
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the sweep into this .png, .svg or .pdf.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the model with the threshold built in.")
    ] = None,
    timeout: opt.Timeout = VERIFY_TIMEOUT,
    sandbox: opt.Sandbox = "auto",
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Check a trained, capped SPLADE model with a threshold, find the best one, and build it in."""
    from patcher.codec import document
    from patcher.source.snapshot import resolve
    from patcher.threshold import save as saving
    from patcher.threshold.evaluation import load_evaluation
    from patcher.threshold.measure import Request, measure
    from patcher.threshold.plot import check_plot, draw
    from patcher.threshold.repaired import repair
    from patcher.verify.preconditions import check_machine, check_snapshot

    console = Console(as_json=as_json, quiet=quiet).listen()
    request = Request(chosen, sweep or plot is not None, device, timeout, sandbox)
    evaluation = load_evaluation(queries, documents, qrels)
    if plot is not None:
        check_plot(plot)
    trained = repair(resolve(model, revision))
    check_snapshot(trained.snapshot, trained.files)
    check_machine([device])
    if save is not None:
        saving.check_save(trained, save)
    require_trust(console, trained.executed(), trained.snapshot.source, trusted=trust_remote_code)
    texts = f"{len(evaluation.queries)} queries and {len(evaluation.documents)} documents"
    console.talk(f"Encoding {texts} with {model} ...")
    report = measure(trained, evaluation, request)
    if plot is not None and report.swept:
        draw(report, plot)
    saved = saving.save(trained, report, save) if save is not None and report.passed else None
    data = {**document(report), "saved": str(saved) if saved else None}
    console.result(data, "passed" if report.passed else "failed", lambda: tables.threshold(report, model, save))
    console.hint(hints.after_threshold(report, console.words, saved))
    raise typer.Exit(0 if report.passed else 1)
