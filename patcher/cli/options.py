"""The arguments and options that several commands share, in the groups of their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from patcher.cli.app import OUTPUT
from patcher.errors import UsageError

RUNNING, CODE, STORAGE = "Run options", "Patch options", "Weight options"


def default_out(source: str, what: str) -> Path:
    """The folder that a command writes by default: named after the source, in the working folder."""
    name = Path(source).resolve().name if Path(source).is_dir() else source.rpartition("/")[2].partition("@")[0]
    return Path(f"{name}-{what}")


def repeated(
    *, trusted: bool, revision: str | None = None, id_column: str = "id", text_column: str = "text"
) -> tuple[str, ...]:
    """The options that the next command needs as well: which revision, which columns, and consent."""
    given = {"--revision": (revision, None), "--id-column": (id_column, "id"), "--text-column": (text_column, "text")}
    words = [word for name, (value, default) in given.items() if value != default for word in (name, str(value))]
    return (*words, *(("--trust-remote-code",) if trusted else ()))


Json = Annotated[bool, typer.Option("--json", help="The same as --format json.", rich_help_panel=OUTPUT)]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="The same as --format quiet: one line, nothing on stderr.", rich_help_panel=OUTPUT
    ),
]
SOURCE_HELP = "Hub id, id@revision, hf:// URI or a folder."
SourceArgument = Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE_HELP, show_default=False)]
FolderArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder that `patcher patch` wrote.", show_default=False)
]
Revision = Annotated[str | None, typer.Option(metavar="REVISION", help="Branch, tag or commit of a Hub source.")]
BaseModel = Annotated[
    str | None,
    typer.Option("--base-model", metavar="REPO_ID", help="The Hub repository that the source folder came from."),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Output folder; with --all, the parent of the output folders.  [default: NAME-splade or NAME-repaired]",
    ),
]
Trust = Annotated[
    bool, typer.Option("--trust-remote-code", help="Allow the model's own code to run.", rich_help_panel=RUNNING)
]
Devices = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICES",
        help="auto, cpu, cuda or mps; a list such as cpu,cuda runs each and compares them.",
        rich_help_panel=RUNNING,
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"],  # auto takes cuda, then mps, then cpu
    typer.Option("--device", metavar="[auto|cpu|cuda|mps]", help="Where the model runs.", rich_help_panel=RUNNING),
]
Dtype = Annotated[
    str,
    typer.Option(
        metavar="[float32|bfloat16|float16]", help="The dtype of the loaded weights.", rich_help_panel=RUNNING
    ),
]
Attention = Annotated[
    str | None,
    typer.Option(
        "--attn",
        metavar="NAME",
        help="Attention (sdpa, eager, flash_attention_2 ...), if the code offers a choice.",
        rich_help_panel=RUNNING,
    ),
]
Timeout = Annotated[
    float,
    typer.Option(help="Seconds after which the model is stopped.", min=1, metavar="SECONDS", rich_help_panel=RUNNING),
]
Sandbox = Annotated[
    Literal["auto", "bubblewrap", "hook", "none"],
    typer.Option(
        "--sandbox",
        metavar="[auto|bubblewrap|hook|none]",
        help="Sandbox for the model's code; auto is bubblewrap if it runs here, else an audit hook.",
        rich_help_panel=RUNNING,
    ),
]
HubTimeout = Annotated[
    float,
    typer.Option(
        help="Time limit for each Hub response, and for each wait that it asks for.",
        min=0.1,
        max=86_400,
        metavar="SECONDS",
    ),
]
MinSparsity = Annotated[
    float,
    typer.Option(
        help="Logit sparsity must exceed this, between 0 and 1.",
        min=0,
        max=1,
        metavar="SHARE",
        rich_help_panel=RUNNING,
    ),
]
Encoder = Annotated[
    bool | None,
    typer.Option(
        "--sparse-encoder/--no-sparse-encoder",
        help="Also load the model with sentence-transformers and compare figures; default if installed.",
        rich_help_panel=RUNNING,
    ),
]
Codemods = Annotated[
    list[str],
    typer.Option(
        "--codemod",
        metavar="NAME",
        help="Apply only this codemod; repeat for more: soft_cap, removed_methods, tied_weights, config_defaults, "
        "computed_buffers, max_length, checkpointing, drop_bos; `repairs` means removed_methods, tied_weights, "
        "config_defaults, computed_buffers and max_length.",
        rich_help_panel=CODE,
    ),
]
AlsoCausal = Annotated[
    bool, typer.Option("--also-causal-lm", help="Remove the cap of the causal head as well.", rich_help_panel=CODE)
]
Checkpointing = Annotated[
    bool, typer.Option("--checkpointing", help="Also set use_reentrant=False (for DDP).", rich_help_panel=CODE)
]
DropBos = Annotated[
    bool,
    typer.Option(
        "--drop-bos",
        help="Also zero the synthetic first row of the logits; otherwise the bos token is active in every vector.",
        rich_help_panel=CODE,
    ),
]
BuiltInThreshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="NUMBER",
        help="Keep the cap of a trained model and subtract a constant after it: activations up to this value become 0.",
        rich_help_panel=CODE,
    ),
]
NoVerify = Annotated[
    bool, typer.Option("--no-verify", help="Write the folder without running the model.", rich_help_panel=RUNNING)
]
CodeOnly = Annotated[
    bool, typer.Option("--code-only", help="Leave the weights on the Hub; needs --no-verify.", rich_help_panel=CODE)
]
Link = Annotated[
    bool,
    typer.Option("--link", help="Link to the source's weights, as the Hub's cache does.", rich_help_panel=STORAGE),
]
Copy = Annotated[
    bool,
    typer.Option("--copy", help="Copy the weights even where they could be shared safely.", rich_help_panel=STORAGE),
]
Rehash = Annotated[
    bool,
    typer.Option(
        "--rehash", help="Hash every file again, including those known from earlier runs.", rich_help_panel=STORAGE
    ),
]
TrainedWithoutCap = Annotated[
    bool,
    typer.Option(
        "--trained-without-cap",
        help="Remove the cap of a trained model too; use this only if it was trained without the cap.",
        rich_help_panel=CODE,
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        metavar="PYTHON",
        help="Also compare with the published code, run by this Python with transformers 4.57.",
        rich_help_panel=RUNNING,
    ),
]


def storage_of(*, link: bool, copy: bool, code_only: bool = False) -> str:
    """How weights are to be stored. Raises UsageError for more than one of the options."""
    if link + copy + code_only > 1:
        raise UsageError("--link, --copy and --code-only can't be combined.", "Use only one of them.")
    return "link" if link else "copy" if copy else "auto"
