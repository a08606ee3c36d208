"""The Typer app, and the options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from patcher import __version__

ORDER = ("plan", "patch", "verify", "card", "publish", "check", "threshold")


class _Ordered(TyperGroup):
    """The commands in the order in which they are used."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the commands."""
        return sorted(self.commands, key=ORDER.index)


app = typer.Typer(
    name="patcher",
    cls=_Ordered,
    help="Remove the soft cap of a NorBERT4 masked-LM head, repair its code for transformers 5, and prove both.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print one line on stdout and nothing on stderr.")]
SOURCE_HELP = "Hub id, id@revision, hf:// URI or a folder."
SourceArgument = Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE_HELP, show_default=False)]
FolderArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder that `patcher patch` wrote.", show_default=False)
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub source.")]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Allow the model's own code to run.")]
Devices = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda or mps; several with commas are compared: cpu,cuda.")
]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16: the dtype of the loaded weights.")]
Attention = Annotated[
    str | None, typer.Option("--attn", help="sdpa, eager, flash_attention_2 ...: where the code offers a choice.")
]
Timeout = Annotated[float, typer.Option(help="Seconds after which the model is stopped.", min=1)]
HubTimeout = Annotated[float, typer.Option(help="Seconds to wait for each response of the Hub.", min=0.1)]
MinSparsity = Annotated[float, typer.Option(help="Logit sparsity that has to be exceeded.", min=0, max=1)]
Encoder = Annotated[
    bool, typer.Option("--sparse-encoder", help="Also load it with sentence-transformers and compare figures.")
]
Codemods = Annotated[
    list[str],
    typer.Option("--codemod", metavar="NAME", help="Apply only this one; repeat for more. `repairs` means three."),
]
AlsoCausal = Annotated[bool, typer.Option("--also-causal-lm", help="Remove the cap of the causal head as well.")]
AlsoSigned = Annotated[bool, typer.Option("--also-signed", help="Remove a signed cap, c * tanh(x / c), as well.")]
Checkpointing = Annotated[bool, typer.Option("--checkpointing", help="Also set use_reentrant=False (for DDP).")]


def examples(*commands: str) -> str:
    """The last lines of a command's help: commands to copy and paste."""
    return "\n\n".join(("Examples:", *(f"$ patcher {command}" for command in commands)))


def exit_with(*, passed: bool) -> None:
    """End a command with exit code 1 where something did not pass."""
    if not passed:
        raise typer.Exit(1)


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"splade-patcher {__version__}")
        raise typer.Exit()


@app.callback()
def patcher(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""
