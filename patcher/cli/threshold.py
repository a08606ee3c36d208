"""`patcher threshold`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from patcher.cli import hints, tables
from patcher.cli import options as opt
from patcher.cli.app import app, examples
from patcher.cli.consent import require_trust
from patcher.cli.console import Console, Table
from patcher.constants import MAX_LOSS, THRESHOLD, VERIFY_TIMEOUT

if TYPE_CHECKING:
    from patcher.planning.plan import Plan
    from patcher.source.snapshot import Snapshot
    from patcher.threshold.measure import Request
    from patcher.threshold.report import ThresholdReport
    from patcher.verify.report import Report


@app.command(
    epilog=examples(
        "threshold me/norbert4-splade --sweep --plot sweep.png",
        "threshold me/norbert4-splade --threshold 0.02 --save norbert4-sparse",
        "threshold me/norbert4-splade --sweep --beir data/nfcorpus",
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
        float | None,
        typer.Option(
            "--threshold",
            metavar="NUMBER",
            help=f"Activations below this become 0.  [default: {THRESHOLD}, or the one the sweep recommends]",
        ),
    ] = None,
    query_threshold: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="A separate threshold for queries.")
    ] = None,
    document_threshold: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="A separate threshold for documents.")
    ] = None,
    query_top_k: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Keep this many activations of a query.")
    ] = None,
    document_top_k: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Keep this many activations of a document.")
    ] = None,
    sweep: Annotated[bool, typer.Option("--sweep", help="Try many thresholds and check the recommended one.")] = False,
    tolerance: Annotated[
        float, typer.Option(help="Share of nDCG@10, MRR@10 or recall@10 that may be lost.", metavar="SHARE")
    ] = MAX_LOSS,
    queries: Annotated[
        str | None, typer.Option(metavar="FILE", help='Your queries: .jsonl or .parquet with "id" and "text".')
    ] = None,
    documents: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Your documents, in the same formats; hf://datasets/... works too."),
    ] = None,
    qrels: Annotated[
        str | None,
        typer.Option(metavar="FILE", help='Relevance judgements: TREC qrels, or rows with "query" and "document".'),
    ] = None,
    beir: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="A folder with corpus.jsonl, queries.jsonl and qrels/, or hf://..."),
    ] = None,
    drop_bos: Annotated[
        bool,
        typer.Option("--drop-bos", help="Also leave out the bos token, which is otherwise active in every vector."),
    ] = False,
    task: Annotated[str | None, typer.Option(metavar="NAME", help="A monolingual mteb retrieval task.")] = None,
    trust_remote_code: opt.Trust = False,
    device: opt.Device = "auto",
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Plot the sweep to this .png, .svg or .pdf.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the model with the threshold built in.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Save it even if a check failed.")] = False,
    in_code: Annotated[
        bool,
        typer.Option(
            "--in-code",
            help="Build the threshold into the code, for runtimes that ignore sentence-transformers modules.",
        ),
    ] = False,
    timeout: opt.Timeout = VERIFY_TIMEOUT,
    sandbox: opt.Sandbox = "auto",
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Find the threshold of a trained, capped SPLADE model.

    It measures whether the weights fit the cap, checks a threshold, and saves a copy that has it built in.
    """
    from patcher.codec import document
    from patcher.source.snapshot import resolve
    from patcher.threshold import save as saving
    from patcher.threshold.evaluation import load_evaluation
    from patcher.threshold.measure import Request, measure
    from patcher.threshold.messages import Point
    from patcher.threshold.plot import check_plot, draw
    from patcher.threshold.repaired import repair
    from patcher.verify.preconditions import check_machine, check_snapshot
    from patcher.verify.settings import check_sentence_transformers

    console = Console(as_json=as_json, quiet=quiet).listen()
    check_sentence_transformers("A trained SPLADE model needs")
    both = chosen if chosen is not None else THRESHOLD
    point = Point(
        both if query_threshold is None else query_threshold,
        both if document_threshold is None else document_threshold,
        query_top_k,
        document_top_k,
    )
    given = (chosen, query_threshold, document_threshold, query_top_k, document_top_k)
    asked = point if any(value is not None for value in given) else None
    request = Request(asked, sweep or plot is not None, tolerance, device, timeout, sandbox, drop_bos, in_code)
    evaluation = load_evaluation(queries, documents, qrels, beir, task)
    if plot is not None:
        check_plot(plot)
    snapshot = resolve(model, revision)
    trained = repair(snapshot)
    if drop_bos:
        saving.check_capped(trained, f"`patcher patch {model} --drop-bos --out DIR` drops the row from its code.")
    check_snapshot(trained.snapshot, trained.files)
    check_machine([device])
    if save is not None:
        saving.check_capped(trained)
        if in_code:
            _plan_in_code(snapshot, both, save)
        else:
            saving.check_save(trained, save)
    require_trust(console, trained.executed(), trained.snapshot.source, trusted=trust_remote_code)
    texts = f"{len(evaluation.queries):,} queries and {len(evaluation.documents):,} documents"
    console.talk(f"Encoding {texts} with {model} ...")
    if evaluation.left_out:
        console.talk(f"{evaluation.left_out:,} judgements were left out: their texts are missing.")
    with console.progress("texts") as progress:
        report = measure(trained, evaluation, request, progress)
    if plot is not None and report.swept:
        draw(report, plot)
    saved, verified = None, None
    if save is not None and report.capped and (report.passed or force):
        if in_code:
            console.talk(f"Patching {model} into {save} ...")
            verified = _patch(snapshot, report, request, save)
        saved = save if in_code else saving.save(trained, report, save, force=force)
    passed = report.passed and (verified is None or verified.passed)
    data = {**document(report), "saved": str(saved) if saved else None, "verification": verified and verified.passed}

    def shown() -> Iterator[Table | str]:
        yield from tables.threshold(report, model, save, saved=saved is not None)
        if verified is not None and saved is not None:
            yield from ("", *tables.verification(verified, saved))

    console.result(data, "passed" if passed else "failed", shown)
    if verified is not None and save is not None:
        console.hint(hints.after_report(verified, save))
    else:
        console.hint(hints.after_threshold(report, console.words, saved))
    raise typer.Exit(0 if passed else 1)


def _plan_in_code(snapshot: Snapshot, threshold: float, out: Path) -> Plan:
    """The plan of a patch that builds the threshold into the code. Raises what refuses it."""
    from patcher.pipeline import api
    from patcher.planning.options import Options
    from patcher.planning.plan import make_plan

    api.check_out(out, snapshot)
    return make_plan(snapshot, Options(threshold=threshold))


def _patch(snapshot: Snapshot, report: ThresholdReport, request: Request, out: Path) -> Report | None:
    """Write the model with the threshold in its code, verified as `patcher patch --threshold` does."""
    from patcher.pipeline import api
    from patcher.verify.settings import Verification
    from patcher.verify.texts import load_probe_texts

    verification = Verification(
        texts=load_probe_texts(),
        devices=(request.device,),
        timeout=request.timeout,
        sparse_encoder=True,  # which ran before
        sandbox=request.sandbox,
    )
    return api.patch_model(_plan_in_code(snapshot, report.threshold, out), snapshot, out, verification).report
