"""`patcher search`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from patcher.cli import options as opt
from patcher.cli.app import app, examples, require_trust
from patcher.cli.console import Console, Table
from patcher.constants import VERIFY_TIMEOUT

if TYPE_CHECKING:
    from patcher.retrieval.model import Runnable
    from patcher.retrieval.search import SearchResult, Term

Device = Literal["auto", "cpu", "cuda", "mps"]
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
        help='.jsonl or .parquet with "id" and "text", or one text per line; also hf://datasets/... of the Hub.',
        show_default=False,
    ),
]
IdColumn = Annotated[str, typer.Option(metavar="NAME", help="What the id is called in the file.")]
TextColumn = Annotated[str, typer.Option(metavar="NAME", help="What the text is called in the file.")]
Inactivity = Annotated[float, typer.Option(help="Seconds without progress until the model is stopped.", min=1)]


def find_trusted(console: Console, source: str, revision: str | None, *, trusted: bool) -> Runnable:
    """The model that a command encodes with; asks for consent where it brings code. See `find_model` for errors."""
    from patcher.retrieval.model import find_model
    from patcher.threshold.repaired import repair

    found = find_model(source, revision, repair)
    if code := found.executed():
        require_trust(console, code, str(found.snapshot.source), trusted=trusted)
    return found


_SHOWN = 100  # characters of a document in the table


@app.command(
    epilog=examples(
        'search norbert4-splade documents.jsonl "Hva er hovedstaden i Norge?" --trust-remote-code',
        'search me/norbert4-splade documents.parquet "Hvem skrev Sult?" --json',
    )
)
def search(
    model: Model,
    documents: Texts,
    question: Annotated[str, typer.Argument(help="What to search for.", show_default=False)],
    *,
    revision: opt.Revision = None,
    trust_remote_code: opt.Trust = False,
    device: Annotated[Device, typer.Option("--device", help="Where the model runs.")] = "auto",
    top: Annotated[int, typer.Option(help="How many documents to show.", min=1)] = 10,
    id_column: IdColumn = "id",
    text_column: TextColumn = "text",
    timeout: Inactivity = VERIFY_TIMEOUT,
    sandbox: opt.Sandbox = "auto",
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Encode documents and a question, and show the documents that match best, with the terms that matched."""
    from patcher.retrieval import search as searching
    from patcher.retrieval.encoder import Settings
    from patcher.retrieval.texts import Columns
    from patcher.source.dataset_file import fetch_input

    console = Console(as_json=as_json, quiet=quiet).listen()
    file = fetch_input(documents)
    found = find_trusted(console, model, revision, trusted=trust_remote_code)
    console.talk(f"Encoding {documents} with {model} ...")
    settings = Settings(device, timeout=timeout, sandbox=sandbox)
    result = searching.search(found, file, question, settings, top, Columns(id_column, text_column))
    console.result(result, result.hits[0].id if result.hits else "", lambda: _shown(result))
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
