"""The arguments and options that several commands share, in the groups of their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from patcher.cli.app import OUTPUT
from patcher.errors import UsageError

RUNNING, CODE, STORAGE = "Options of the run", "Options of the patch", "Options of the weights"


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
    str | None, typer.Option("--base-model", metavar="REPO_ID", help="The Hub repository that a source folder is from.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="The folder to write; with --all, the folder to write them in.  [default: NAME-splade or NAME-repaired]",
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
        help="auto, cpu, cuda or mps; several with commas are compared: cpu,cuda.",
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
        help="sdpa, eager, flash_attention_2 ...: where the code offers a choice.",
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
        help="What confines the model's code; auto is bubblewrap where it runs, else a hook.",
        rich_help_panel=RUNNING,
    ),
]
HubTimeout = Annotated[
    float,
    typer.Option(
        help="Seconds to wait for each response of the Hub, or when it asks to wait.", min=0.1, metavar="SECONDS"
    ),
]
MinSparsity = Annotated[
    float,
    typer.Option(
        help="Logit sparsity that has to be exceeded, between 0 and 1.",
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
        help="Also load it with sentence-transformers and compare figures; by default where that is installed.",
        rich_help_panel=RUNNING,
    ),
]
Codemods = Annotated[
    list[str],
    typer.Option(
        "--codemod",
        metavar="NAME",
        help="Apply only this one, or more if repeated: soft_cap, removed_methods, tied_weights, config_defaults, "
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
        help="Also make the synthetic first row of the logits zero, by which the bos token is active in every vector.",
        rich_help_panel=CODE,
    ),
]
BuiltInThreshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="NUMBER",
        help="Keep the cap of a trained model, and subtract a constant behind it: activations up to this become 0.",
        rich_help_panel=CODE,
    ),
]
NoVerify = Annotated[
    bool, typer.Option("--no-verify", help="Write the folder without running it.", rich_help_panel=RUNNING)
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
        "--rehash", help="Hash every file again, also those known from earlier runs.", rich_help_panel=STORAGE
    ),
]
TrainedWithoutCap = Annotated[
    bool,
    typer.Option(
        "--trained-without-cap",
        help="Take the cap off a trained model too: its weights never passed that cap.",
        rich_help_panel=CODE,
    ),
]
Reference = Annotated[
    Path | None,
    typer.Option(
        metavar="PYTHON",
        help="An interpreter with transformers 4.57: also compare with the published code there.",
        rich_help_panel=RUNNING,
    ),
]


def storage_of(*, link: bool, copy: bool, code_only: bool = False) -> str:
    """How weights are to be stored. Raises UsageError for more than one of the options."""
    if link + copy + code_only > 1:
        raise UsageError("--link, --copy and --code-only exclude each other.", "Give one of them.")
    return "link" if link else "copy" if copy else "auto"
