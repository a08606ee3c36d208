"""`patcher evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from patcher.cli import hints
from patcher.cli import options as opt
from patcher.cli.app import app, examples
from patcher.cli.console import Console, Table
from patcher.cli.search import Inactivity, Model, find_trusted
from patcher.constants import VERIFY_TIMEOUT
from patcher.documents.formatting import decimal, rounded

if TYPE_CHECKING:
    from patcher.retrieval.benchmark import Evaluated, Figures, Row


@app.command(
    epilog=examples(
        "evaluate me/norbert4-splade --trust-remote-code",
        "evaluate me/norbert4-splade --against me/splade-v1 --nanobeir",
        "evaluate ./splade-final --beir data/nfcorpus --language eng",
    )
)
def evaluate(
    model: Model,
    *,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task", metavar="NAME", help="An mteb retrieval task; repeat for more. [default: the Norwegian ones]"
        ),
    ] = None,
    nanobeir: Annotated[bool, typer.Option("--nanobeir", help="The 13 tasks of NanoBEIR, in English.")] = False,
    beir: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="A folder with corpus.jsonl, queries.jsonl and qrels/; repeat for more."),
    ] = None,
    questions: Annotated[bool, typer.Option("--questions", help="The bundled Norwegian questions.")] = False,
    language: Annotated[
        str, typer.Option(metavar="CODE", help="ISO 639-3 code of the BEIR folders' language.")
    ] = "nob",
    against: Annotated[str | None, typer.Option(metavar="MODEL", help="A second model, for comparison.")] = None,
    bm25: Annotated[bool, typer.Option(help="Measure BM25 as well.")] = True,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where mteb's results go.")] = Path("build/evaluation"),
    revision: opt.Revision = None,
    trust_remote_code: opt.Trust = False,
    device: opt.Device = "auto",
    max_active_dims: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Keep at most this many activations per text, the largest.")
    ] = None,
    timeout: Inactivity = VERIFY_TIMEOUT,
    sandbox: opt.Sandbox = "auto",
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Measure retrieval and sparsity, alongside BM25.

    Tasks come from mteb, NanoBEIR or BEIR folders.
    """
    from patcher.patching.staging import check_parent
    from patcher.retrieval.benchmark import NEEDED, Tasks
    from patcher.retrieval.benchmark import evaluate as measure
    from patcher.retrieval.encoder import Settings
    from patcher.verify.texts.mteb_task import check_packages

    console = Console(as_json=as_json, quiet=quiet).listen()
    check_packages(NEEDED)
    check_parent(out / "results")
    models = {model: find_trusted(console, model, revision, trusted=trust_remote_code, device=device)}
    if against is not None:
        models[against] = find_trusted(console, against, None, trusted=trust_remote_code, device=device)
    wanted = Tasks(tuple(tasks or ()), nanobeir, tuple(beir or ()), questions, language)
    settings = Settings(device, max_active_dims=max_active_dims, timeout=timeout, sandbox=sandbox)
    found = measure(
        models,
        wanted,
        settings,
        out,
        bm25=bm25,
        progress=lambda task, name: console.talk(f"Evaluating {name} on {task} ..."),
    )
    console.result(found, str(found.results), lambda: _shown(found))
    again = opt.repeated(trusted=trust_remote_code, revision=revision)
    console.hint([hints.command("encode", model, "TEXTS.jsonl", "--to", "parquet", *again)])
    raise typer.Exit(0)


def _shown(found: Evaluated) -> Iterator[Table | str]:
    """For each task the retrieval of every model, and what the vectors of those that have some cost."""
    for task in dict.fromkeys(row.task for row in found.rows):
        rows = [row for row in found.rows if row.task == task]
        yield f"{task}:"
        yield Table(("model", "nDCG@10", "MRR@10", "recall@100"), list(map(_retrieval, rows)), right=(1, 2, 3))
        yield ""
        heads = ("model", "query dims", "document dims", "FLOPS", "postings")
        yield Table(heads, [_costs(row.model, row.costs) for row in rows if row.costs is not None], right=(1, 2, 3, 4))
        yield ""
    yield from (f"Note: {note}" for note in found.notes)
    yield f"mteb results: {found.results}"


def _retrieval(row: Row) -> tuple[str, ...]:
    return (row.model, *(f"{value:.3f}" for value in (row.ndcg_at_10, row.mrr_at_10, row.recall_at_100)))


def _costs(model: str, cost: Figures) -> tuple[str, ...]:
    means = (cost.query_active_dims, cost.document_active_dims, cost.flops, cost.postings_per_query)
    return (model, *(decimal(mean) if mean < 1000 else rounded(mean) for mean in means))
