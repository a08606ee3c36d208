"""The arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from patcher.errors import UsageError

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
Timeout = Annotated[float, typer.Option(help="Seconds after which the model is stopped.", min=1, metavar="SECONDS")]
Sandbox = Annotated[
    Literal["auto", "bubblewrap", "hook", "none"],
    typer.Option("--sandbox", help="What confines the model's code; auto is bubblewrap where it runs, else a hook."),
]
HubTimeout = Annotated[
    float,
    typer.Option(
        help="Seconds to wait for each response of the Hub, or when it asks to wait.", min=0.1, metavar="SECONDS"
    ),
]
MinSparsity = Annotated[
    float, typer.Option(help="Logit sparsity that has to be exceeded.", min=0, max=1, metavar="SHARE")
]
Encoder = Annotated[
    bool | None,
    typer.Option(
        "--sparse-encoder/--no-sparse-encoder",
        help="Also load it with sentence-transformers and compare figures; by default where that is installed.",
    ),
]
Codemods = Annotated[
    list[str],
    typer.Option("--codemod", metavar="NAME", help="Apply only this one; repeat for more. `repairs` means three."),
]
AlsoCausal = Annotated[bool, typer.Option("--also-causal-lm", help="Remove the cap of the causal head as well.")]
Checkpointing = Annotated[bool, typer.Option("--checkpointing", help="Also set use_reentrant=False (for DDP).")]
NoVerify = Annotated[bool, typer.Option("--no-verify", help="Write the folder without running it.")]
CodeOnly = Annotated[bool, typer.Option("--code-only", help="Leave the weights on the Hub; needs --no-verify.")]
Link = Annotated[bool, typer.Option("--link", help="Link to the source's weights, as the Hub's cache does.")]
Copy = Annotated[bool, typer.Option("--copy", help="Copy the weights even where they could be shared safely.")]
Rehash = Annotated[bool, typer.Option("--rehash", help="Hash every file again, also those known from earlier runs.")]
Reference = Annotated[
    Path | None,
    typer.Option(
        metavar="PYTHON", help="An interpreter with transformers 4.57: also compare with the published code there."
    ),
]


def storage_of(*, link: bool, copy: bool, code_only: bool = False) -> str:
    """How weights are to be stored. Raises UsageError for more than one of the options."""
    if link + copy + code_only > 1:
        raise UsageError("--link, --copy and --code-only exclude each other.", "Give one of them.")
    return "link" if link else "copy" if copy else "auto"
