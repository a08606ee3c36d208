"""`patcher export`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from patcher.cli import hints
from patcher.cli import options as opt
from patcher.cli.app import app, examples
from patcher.cli.console import Console, Failure, Table
from patcher.cli.search import Model, find_trusted
from patcher.constants import VERIFY_TIMEOUT

if TYPE_CHECKING:
    from patcher.retrieval.export import Export


@app.command(
    epilog=examples("export me/norbert4-splade --trust-remote-code", "export me/norbert4-splade --quantize int8")
)
def export(
    model: Model,
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder to write.  [default: NAME-FORMAT]")
    ] = None,
    to: Annotated[
        Literal["onnx", "openvino"],
        typer.Option("--to", metavar="[onnx|openvino]", help="The format of the graph."),
    ] = "onnx",
    quantize: Annotated[
        Literal["int8"] | None,
        typer.Option(
            metavar="[int8]", help="Also quantize the weight matrices to int8, and measure the loss in ranking quality."
        ),
    ] = None,
    revision: opt.Revision = None,
    trust_remote_code: opt.Trust = False,
    timeout: opt.Timeout = VERIFY_TIMEOUT,
    sandbox: opt.Sandbox = "auto",
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write a model as one graph that runs without its code.

    The graph maps token ids to the SPLADE vector.
    """
    from patcher.retrieval.export import check_export, export_model

    console = Console(as_json=as_json, quiet=quiet).listen()
    out = out or opt.default_out(model, f"{to}-{quantize}" if quantize else to)
    check_export(out, to, quantize)
    found = find_trusted(console, model, revision, trusted=trust_remote_code)
    console.talk(f"Exporting {model} and comparing the graph with it on the probe texts ...")
    result = export_model(found, out, timeout, sandbox, to, quantize)
    console.result(result, "passed" if result.passed else "failed", lambda: _shown(result, out))
    again = opt.repeated(trusted=trust_remote_code, revision=revision)
    console.hint(hints.after_export(out, [model, *again], passed=result.passed))
    raise typer.Exit(0 if result.passed else 1)


def _shown(done: Export, out: Path) -> Iterator[Table | str]:
    """How the graph differs from the model, and where it is."""
    rows = [
        ("largest activation difference", f"{done.error:.3g}", f"{done.tolerance:.3g}"),
        ("dims active in only one of the two, below that limit", f"{done.changed:,}", ""),
    ]
    if (int8 := done.quantized) is not None:
        rows += [
            (f"int8: nDCG@10 of {int8.queries} questions", f"{int8.ndcg_graph:.4f}", ""),
            ("the model: nDCG@10", f"{int8.ndcg_model:.4f}", ""),
            ("int8: questions with a different top document", f"{int8.other_first:,}", ""),
            ("int8: largest activation difference", f"{int8.error:.3g}", ""),
        ]
    yield Table((f"on {done.texts} probe texts", "value", "limit"), rows, right=(1, 2))
    yield ""
    yield f"Written: {out}" if done.passed else Failure(f"FAILED: the graph differs; {out} was not written.")
