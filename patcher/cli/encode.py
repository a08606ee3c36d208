"""`patcher encode`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from patcher.cli import hints
from patcher.cli import options as opt
from patcher.cli.app import app, examples
from patcher.cli.console import Console, Table
from patcher.cli.search import IdColumn, Inactivity, Model, TextColumn, Texts, find_trusted
from patcher.constants import VERIFY_TIMEOUT
from patcher.documents.formatting import decimal, number, size

if TYPE_CHECKING:
    from patcher.retrieval.encoding import Encoding

Target = Literal["parquet", "qdrant", "rank_features", "sparse_vector", "milvus", "pgvector", "lucene"]


@app.command(
    epilog=examples(
        "encode me/norbert4-splade documents.jsonl --to qdrant",
        "encode me/splade hf://datasets/me/texts/all.parquet --to lucene",
        "encode me/norbert4-splade questions.jsonl --queries --to parquet",
    )
)
def encode(
    model: Model,
    texts: Texts,
    *,
    to: Annotated[
        Target,
        typer.Option("--to", metavar="FORMAT", help=f"One of {', '.join(get_args(Target))}.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The file to write.  [default: TEXTS.FORMAT, in the current folder]"),
    ] = None,
    queries: Annotated[bool, typer.Option("--queries", help="The texts are queries, not documents.")] = False,
    revision: opt.Revision = None,
    trust_remote_code: opt.Trust = False,
    device: opt.Device = "auto",
    max_active_dims: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Keep at most this many activations per text, the largest.")
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Truncate texts to this many tokens; by default, to the model's limit."),
    ] = None,
    batch_tokens: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            help="Maximum tokens per batch; fewer need less memory, more suit a large GPU.",
            rich_help_panel=opt.RUNNING,
        ),
    ] = None,
    names: Annotated[
        Literal["numbers", "terms"],
        typer.Option(metavar="[numbers|terms]", help="How dimensions are named, if the format names them."),
    ] = "numbers",
    scale: Annotated[float, typer.Option(metavar="NUMBER", help="lucene: the impact of an activation of 1.0.")] = 100.0,
    id_column: IdColumn = "id",
    text_column: TextColumn = "text",
    timeout: Inactivity = VERIFY_TIMEOUT,
    sandbox: opt.Sandbox = "auto",
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Encode a file of texts for a search system.

    Interrupted runs resume.
    """
    from patcher.retrieval.encoder import Settings
    from patcher.retrieval.encoding import Job, encode_file
    from patcher.retrieval.formats import find_format
    from patcher.retrieval.texts import Columns
    from patcher.source.dataset_file import fetch_input

    console = Console(as_json=as_json, quiet=quiet).listen()
    out = out or Path(f"{PurePosixPath(texts).stem}.{to}")
    settings = Settings(device, batch_tokens, max_tokens, max_active_dims, timeout, sandbox)
    kind, columns = "query" if queries else "document", Columns(id_column, text_column)
    job = Job(fetch_input(texts), kind, to, out, names, scale, settings, columns)
    for limit in find_format(to).limits:
        console.talk(f"Note: {limit}")
    found = find_trusted(console, model, revision, trusted=trust_remote_code, device=device)
    console.talk(f"Encoding {texts} with {model} ...")
    with console.progress("texts") as progress:
        result = encode_file(found, job, progress)
    console.result(result, str(out), lambda: _shown(result))
    again = opt.repeated(trusted=trust_remote_code, revision=revision, id_column=id_column, text_column=text_column)
    words = ("encode", model, "DOCUMENTS.jsonl", "--to", to) if queries else ("search", model, texts, "YOUR QUESTION")
    console.hint([hints.command(*words, *again)])
    raise typer.Exit(0)


def _shown(done: Encoding) -> Iterator[Table | str]:
    """What was written, and what it costs to store and to search."""
    found = done.costs
    rows = [
        ("texts", f"{done.texts:,}"),
        ("of them without an active dim", f"{found.empty:,}"),
        ("active dims, mean", decimal(found.active_dims)),
        ("active dims, max", f"{found.longest:,}"),
        ("dims active in more than half of the texts", f"{len(found.frequent):,}"),
    ]
    if found.flops is not None:
        rows += [
            ("inverted index", size(found.index_bytes)),
            ("FLOPS with the bundled questions", number(round(found.flops, 3))),
            ("postings read per query", decimal(found.postings_per_query)),
        ]
    yield Table(("figure", "value"), rows, right=(1,))
    yield ""
    if done.frequent_terms:
        yield f"Active in more than half of the texts: {', '.join(done.frequent_terms[:20])}"
    yield from (f"Note: {note}" for note in done.notes)
    yield f"Written: {done.out} ({done.texts_per_second:,} texts per second)"
