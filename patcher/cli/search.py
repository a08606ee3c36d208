"""`patcher search`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from patcher.cli import hints
from patcher.cli import options as opt
from patcher.cli.app import app, examples
from patcher.cli.consent import require_trust
from patcher.cli.console import Console, Table
from patcher.constants import VERIFY_TIMEOUT

if TYPE_CHECKING:
    from patcher.retrieval.model import Runnable
    from patcher.retrieval.search import SearchResult, Term

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A patched folder, a trained SparseEncoder model, or a Hub id.", show_default=False
    ),
]
Texts = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help='.jsonl or .parquet with "id" and "text", or one text per line; hf://datasets/... works too.',
        show_default=False,
    ),
]
IdColumn = Annotated[str, typer.Option(metavar="NAME", help="Name of the id column.")]
TextColumn = Annotated[str, typer.Option(metavar="NAME", help="Name of the text column.")]
Inactivity = Annotated[
    float,
    typer.Option(
        help="Seconds without progress after which the model is stopped.",
        min=1,
        metavar="SECONDS",
        rich_help_panel=opt.RUNNING,
    ),
]


def find_trusted(
    console: Console, source: str, revision: str | None, *, trusted: bool, device: str = "cpu"
) -> Runnable:
    """The model that a command encodes with; asks for consent where it brings code. See `find_model` for errors."""
    from patcher.retrieval.model import find_model
    from patcher.threshold.repaired import repair
    from patcher.verify.preconditions import check_machine, check_snapshot
    from patcher.verify.settings import check_sentence_transformers

    check_sentence_transformers("Encoding needs")
    found = find_model(source, revision, repair)
    check_snapshot(found.snapshot, found.files)
    check_machine([device])
    if code := found.executed():
        require_trust(console, code, found.snapshot.source, trusted=trusted)
    return found


_SHOWN = 100  # characters of a document in the table


@app.command(
    epilog=examples(
        'search me/norbert4-splade documents.jsonl "Hvem er statsminister?"',
        'search ./splade-final texts.parquet "Hvem skrev Sult?" --json',
    )
)
def search(
    model: Model,
    documents: Texts,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to search for.", show_default=False)],
    *,
    revision: opt.Revision = None,
    trust_remote_code: opt.Trust = False,
    device: opt.Device = "auto",
    top: Annotated[int, typer.Option(metavar="NUMBER", help="How many documents to show.", min=1)] = 10,
    id_column: IdColumn = "id",
    text_column: TextColumn = "text",
    timeout: Inactivity = VERIFY_TIMEOUT,
    sandbox: opt.Sandbox = "auto",
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Show which documents match a question best, and by which terms."""
    from patcher.retrieval import search as searching
    from patcher.retrieval.encoder import Settings
    from patcher.retrieval.texts import Columns
    from patcher.source.dataset_file import fetch_input

    console = Console(as_json=as_json, quiet=quiet).listen()
    file = fetch_input(documents)
    found = find_trusted(console, model, revision, trusted=trust_remote_code, device=device)
    console.talk(f"Encoding {documents} with {model} ...")
    settings = Settings(device, timeout=timeout, sandbox=sandbox)
    result = searching.search(found, file, question, settings, top, Columns(id_column, text_column))
    console.result(result, result.hits[0].id if result.hits else "", lambda: _shown(result))
    again = opt.repeated(trusted=trust_remote_code, revision=revision, id_column=id_column, text_column=text_column)
    console.hint([hints.command("encode", model, documents, "--to", "parquet", *again)])
    raise typer.Exit(0)


def _shown(result: SearchResult) -> Iterator[Table | str]:
    """The hits with the terms that matched, and what was searched."""
    rows = [
        (str(rank), f"{hit.score:.3f}", hit.id, _short(hit.text), _listed(hit.terms))
        for rank, hit in enumerate(result.hits, 1)
    ]
    yield Table(("", "score", "id", "document", "terms that matched"), rows, right=(0, 1))
    yield ""
    yield f"The question's terms: {_listed(result.question_terms)}"
    yield f"{result.matching:,} of {result.documents:,} documents share a term with it."


def _listed(terms: Sequence[Term]) -> str:
    return ", ".join(f"{one.term} {one.weight:.2f}" for one in terms)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
