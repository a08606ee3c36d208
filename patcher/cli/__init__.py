"""The `patcher` command: parse, call one function, render, exit code."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from patcher import __version__
from patcher.cli.console import Console
from patcher.cli.tables import family_line, plan_line, threshold_lines
from patcher.codec import document
from patcher.constants import HUB_TIMEOUT, MIN_LOGIT_SPARSITY, THRESHOLD, VERIFY_TIMEOUT
from patcher.errors import OutputError, PatcherError, PublishError, TrustRequired, UsageError
from patcher.printable import printable
from patcher.sandbox.process import INTERRUPTED, Interrupted, install_signal_handlers

if TYPE_CHECKING:
    from patcher.pipeline.api import Verification
    from patcher.planning.plan import Plan
    from patcher.planning.rewriting import Options
    from patcher.sandbox.guard import Child
    from patcher.verify.report import Report

app = typer.Typer(
    name="patcher",
    help="Take the cap off a NorBERT4 masked-LM head, make its code load right on transformers 5, and prove both.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Device(str, Enum):
    """Where the model runs; auto takes cuda, then mps, then cpu."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print one line on stdout and nothing on stderr.")]
SOURCE_HELP = "Hub id, id@revision, hf:// URI or a folder."
SourceArgument = Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE_HELP, show_default=False)]
FolderArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder that `patcher patch` wrote.", show_default=False)
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub source.")]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Agree to run the model's own code.")]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where the model runs.")]
DevicesOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda or mps; several with commas are compared: cpu,cuda.")
]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16: what the weights are loaded as.")]
Attention = Annotated[
    str | None, typer.Option("--attn", help="sdpa, eager, flash_attention_2 ...: where the code offers a choice.")
]
Timeout = Annotated[float, typer.Option(help="Seconds after which the model is stopped.", min=1)]
HubTimeout = Annotated[float, typer.Option(help="Seconds to wait for each answer of the Hub.", min=0.1)]
MinSparsity = Annotated[float, typer.Option(help="Logit sparsity that has to be exceeded.", min=0, max=1)]
Encoder = Annotated[
    bool, typer.Option("--sparse-encoder", help="Also load it with sentence-transformers and compare figures.")
]
Codemods = Annotated[
    list[str],
    typer.Option("--codemod", metavar="NAME", help="Apply this one alone; repeat it for more. `repairs` means three."),
]
AlsoCausal = Annotated[bool, typer.Option("--also-causal-lm", help="Take the cap off the causal head as well.")]
AlsoSigned = Annotated[bool, typer.Option("--also-signed", help="Take a signed cap, c * tanh(x / c), off as well.")]
Checkpointing = Annotated[bool, typer.Option("--checkpointing", help="Also set use_reentrant=False (for DDP).")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"splade-patcher {__version__}")
        raise typer.Exit()


@app.callback()
def patcher(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Options that stand before the command."""


@app.command()
def plan(
    source: SourceArgument,
    revision: Revision = None,
    also_causal_lm: AlsoCausal = False,
    also_signed: AlsoSigned = False,
    checkpointing: Checkpointing = False,
    codemod: Codemods = [],  # noqa: B006 - typer reads it
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what would change: the diff and the table of files. Writes nothing, runs no model code, needs no weights."""
    from patcher.planning.plan import make_plan
    from patcher.planning.rewriting import Options
    from patcher.source.snapshot import resolve

    console = Console(as_json, quiet)
    console.listen()
    options = Options.choose(codemod, also_causal_lm, checkpointing, also_signed)
    made = make_plan(resolve(source, revision), options)
    console.result(made.as_json(), str(made.source), lambda: console.plan(made))
    if made.nothing_to_do:
        console.talk(_nothing(made))


@app.command()
def patch(
    out: Annotated[Path, typer.Option("--out", help="The folder to write; with --all, the folder to write them in.")],
    source: Annotated[str | None, typer.Argument(metavar="SOURCE", help=SOURCE_HELP, show_default=False)] = None,
    every: Annotated[
        Path | None, typer.Option("--all", metavar="FILE", help="Patch each model of this list, or of `family`.")
    ] = None,
    revision: Revision = None,
    trust_remote_code: Trust = False,
    device: DevicesOption = "auto",
    dtype: Dtype = "float32",
    attn: Attention = None,
    min_logit_sparsity: MinSparsity = MIN_LOGIT_SPARSITY,
    calibrate: Annotated[
        float | None,
        typer.Option(help="Lower all logits by one constant where this logit sparsity is not exceeded.", min=0, max=1),
    ] = None,
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Write the folder without running it.")] = False,
    code_only: Annotated[
        bool, typer.Option("--code-only", help="Leave the weights on the Hub; needs --no-verify.")
    ] = False,
    sparse_encoder: Encoder = False,
    also_causal_lm: AlsoCausal = False,
    also_signed: AlsoSigned = False,
    checkpointing: Checkpointing = False,
    codemod: Codemods = [],  # noqa: B006
    timeout: Timeout = VERIFY_TIMEOUT,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the patched folder, run it against the base model, and write its report and card."""
    from patcher.pipeline import api
    from patcher.planning.plan import make_plan
    from patcher.planning.rewriting import Options
    from patcher.source.snapshot import resolve
    from patcher.verify.devices import parse_devices, parse_dtype
    from patcher.verify.texts import load_probe_texts

    if code_only and not no_verify:
        raise UsageError("--code-only leaves nothing to run.", "Add --no-verify, or leave out --code-only.")
    if calibrate is not None and (no_verify or every is not None):
        raise UsageError("--calibrate measures one model.", "Leave out --no-verify and --all.")
    min_logit_sparsity = min_logit_sparsity if calibrate is None else calibrate
    devices, dtype = parse_devices(device), parse_dtype(dtype)
    console = Console(as_json, quiet)
    console.listen()
    options = Options.choose(codemod, also_causal_lm, checkpointing, also_signed)
    verification = None
    if not no_verify:
        verification = api.Verification(
            load_probe_texts(), devices, dtype, attn, min_logit_sparsity, timeout, sparse_encoder
        )
    if every is not None:
        if source is not None or revision is not None or code_only:
            raise UsageError(
                "--all takes its sources from the list.",
                "Leave out SOURCE, --revision and --code-only; a line may be id@revision.",
            )
        _patch_all(console, every, out, options, verification, trust_remote_code)
        return
    if source is None:
        raise UsageError("Nothing says what to patch.", "Give a SOURCE, or a list of them with --all FILE.")
    snapshot = resolve(source, revision)
    api.check_out(out, snapshot)
    made = make_plan(snapshot, options)
    if made.nothing_to_do:
        nothing = api.Patched(None, made, None)
        console.result(document(nothing), str(made.source), lambda: console.line(_nothing(made)))
        return
    if verification is not None:
        _agree(console, trust_remote_code, made.executed, str(snapshot.source))
    console.talk(f"Patching {snapshot.source} into {out} ...")
    with console.progress() as progress:
        done = api.patch_model(
            made, snapshot, out, verification, code_only=code_only, progress=progress, calibrate=calibrate is not None
        )

    def human() -> None:
        console.diff(done.plan.diff)
        console.line("")
        if done.report:
            console.report(done.report)
            console.line("")
        _conclude(console, out, done.report)

    console.result(document(done), str(out), human)
    _leave(done.report)


def _patch_all(
    console: Console, path: Path, out: Path, options: Options, verification: Verification | None, trusted: bool
) -> None:
    """Patch a list: one look at all of them, one question, then one after another."""
    from patcher.pipeline.family import inspect_entries, patch_all, read_list

    members = inspect_entries(read_list(path, out), options)
    if verification is None:
        done = patch_all(members, None)
    else:
        code = {
            f"{member.plan.source}: {path}": content
            for member in members
            if member.runs and member.plan is not None
            for path, content in member.plan.executed.items()
        }
        if code:
            _agree(console, trusted, code, f"{sum(member.runs for member in members)} models")
        done = patch_all(members, verification)
    lines = "\n".join(family_line(outcome) for outcome in done.all)
    console.result(document(done), lines, lambda: console.family(done))
    if not done.passed:
        raise typer.Exit(1)


@app.command()
def verify(
    context: typer.Context,
    folder: FolderArgument,
    trust_remote_code: Trust = False,
    device: DevicesOption = "auto",
    dtype: Dtype = "float32",
    attn: Attention = None,
    texts: Annotated[
        Path | None, typer.Option(help="Add your own probe texts: .jsonl with a `text`, or one text per line.")
    ] = None,
    min_logit_sparsity: MinSparsity = MIN_LOGIT_SPARSITY,
    sparse_encoder: Encoder = False,
    timeout: Timeout = VERIFY_TIMEOUT,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run the base and the patched model on the same texts and check that only the cap is gone."""
    from patcher.constants import CARD
    from patcher.documents import card
    from patcher.patching.record import load
    from patcher.pipeline import api
    from patcher.verify.devices import parse_devices, parse_dtype
    from patcher.verify.texts import load_probe_texts

    devices, dtype = parse_devices(device), parse_dtype(dtype)
    console = Console(as_json, quiet)
    console.listen()
    model = load(folder)
    probes = load_probe_texts(texts)
    code = {path: (folder / path).read_bytes() for path in _code_files(folder)}
    _agree(console, trust_remote_code, code, str(model.source))
    verification = api.Verification(probes, devices, dtype, attn, min_logit_sparsity, timeout, sparse_encoder)
    console.talk(f"Running {model.what_runs} on {len(probes)} texts ...")
    with console.progress() as progress:
        report = api.verify_folder(folder, verification, context.obj, progress)
    if not card.is_ours(folder / CARD):
        console.talk(f"{folder / CARD} was edited by hand and was left as it is; `patcher card` writes it anew.")

    def human() -> None:
        console.report(report)
        console.line("")
        _conclude(console, folder, report)

    from patcher.verify.report import sealed

    console.result(sealed(report), "passed" if report.passed else "failed", human)
    _leave(report)


@app.command(name="card")
def write_card(folder: FolderArgument, as_json: Json = False, quiet: Quiet = False) -> None:
    """Write README.md again from the plan and the last report, with the report's pictures and its page."""
    from patcher.constants import SCHEMA_VERSION
    from patcher.patching.record import load
    from patcher.pipeline import api
    from patcher.verify.report import load_report

    console = Console(as_json, quiet)
    console.listen()
    path = api.describe(load(folder), load_report(folder), folder.resolve().name)
    console.result(
        {"schema_version": SCHEMA_VERSION, "path": str(path)}, str(path), lambda: console.line(f"Wrote {path}")
    )


@app.command()
def publish(
    folder: FolderArgument,
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID", help="namespace/name.", show_default=False)],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Commit to a pull request of yours.")] = False,
    revision: Annotated[str | None, typer.Option(metavar="BRANCH", help="Branch to commit to.")] = None,
    tag: Annotated[str | None, typer.Option(help="Tag to put on the commit.")] = None,
    commit_message: Annotated[str | None, typer.Option("--commit-message", "-m", help="First line of it.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be committed; write nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    upload_weights: Annotated[
        bool, typer.Option("--upload-weights", help="Upload the weights; by default the Hub copies them.")
    ] = False,
    unverified: Annotated[bool, typer.Option("--unverified", help="Publish a folder that was never run.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace somebody else's content.")] = False,
    replace_card: Annotated[bool, typer.Option("--replace-card", help="Replace a card edited on the Hub.")] = False,
    timeout: HubTimeout = HUB_TIMEOUT,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Push the folder in one commit; the Hub copies the weights from the source, we send the rest."""
    from patcher.patching.record import load
    from patcher.publish import PublishOptions, RetryPolicy, plan_publication
    from patcher.publish import publish as publish_plan
    from patcher.verify.report import load_report

    console = Console(as_json, quiet)
    console.listen()
    console.silence_client()
    retry = RetryPolicy(timeout)
    options = PublishOptions(
        private, create_pr, revision, tag, commit_message, upload_weights, force, replace_card, unverified
    )
    planned = plan_publication(load(folder), load_report(folder), repo_id, options, retry)
    if dry_run:
        console.result(planned.as_json(), plan_line(planned), lambda: console.publish_plan(planned))
        return
    if (planned.operations or planned.tag_missing) and not yes:
        if not as_json and not quiet:
            console.publish_plan(planned)
        if not console.confirm("Publish this?"):
            raise PublishError("Nobody agreed to publishing; nothing was written.", "Add --yes, or --dry-run to look.")
    console.talk(plan_line(planned))
    done = publish_plan(planned, retry)
    console.result(done.as_json(), done.url, lambda: console.publication(done))
    if not done.passed:
        raise typer.Exit(1)


@app.command()
def check(
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID[@REV]", help="A published model.", show_default=False)],
    revision: Revision = None,
    timeout: HubTimeout = HUB_TIMEOUT,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Hold a published model against its record and its source. Runs nothing of it, needs no weights."""
    from patcher.publish import RetryPolicy
    from patcher.publish import check as check_published

    console = Console(as_json, quiet)
    console.listen()
    console.silence_client()
    found = check_published(repo_id, revision, RetryPolicy(timeout))
    console.result(found.as_json(), "passed" if found.passed else "failed", lambda: console.checked(found))
    if not found.passed:
        raise typer.Exit(1)


@app.command(name="threshold")
def use_threshold(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A trained SparseEncoder model: Hub id or folder.", show_default=False),
    ],
    revision: Revision = None,
    chosen: Annotated[float, typer.Option("--threshold", help="Activations below it become 0.")] = THRESHOLD,
    sweep: Annotated[bool, typer.Option("--sweep", help="Try many thresholds and recommend one.")] = False,
    queries: Annotated[Path | None, typer.Option(help='Your own queries: .jsonl with "id" and "text".')] = None,
    documents: Annotated[Path | None, typer.Option(help='Your own documents: .jsonl with "id" and "text".')] = None,
    qrels: Annotated[
        Path | None, typer.Option(help='Judgements: TREC qrels, or .jsonl with "query" and "document".')
    ] = None,
    trust_remote_code: Trust = False,
    device: DeviceOption = Device.auto,
    plot: Annotated[Path | None, typer.Option(help="Draw the sweep into this .png, .svg or .pdf.")] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the model with the threshold built in.")
    ] = None,
    timeout: Timeout = VERIFY_TIMEOUT,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check a trained, capped SPLADE model with a threshold, find the best one, and build it in."""
    from patcher.source.snapshot import resolve
    from patcher.threshold.evaluation import load_evaluation
    from patcher.threshold.measure import Request, measure
    from patcher.threshold.plot import check_plot, draw
    from patcher.threshold.repaired import repair
    from patcher.threshold.save import check_save
    from patcher.threshold.save import save as save_with_threshold

    console = Console(as_json, quiet)
    console.listen()
    request = Request(chosen, sweep or plot is not None, device.value, timeout)
    evaluation = load_evaluation(queries, documents, qrels)
    if plot is not None:
        check_plot(plot)
    trained = repair(resolve(model, revision))
    if save is not None:
        check_save(trained, save)
    _agree(console, trust_remote_code, trained.executed(), str(trained.snapshot.source))
    console.talk(
        f"Encoding {len(evaluation.queries)} queries and {len(evaluation.documents)} documents with {model} ..."
    )
    report = measure(trained, evaluation, request)
    if plot is not None and report.swept:
        draw(report, plot)
    saved = save_with_threshold(trained, report, save) if save is not None and report.passed else None

    def human() -> None:
        console.threshold(report)
        console.line("")
        for line in threshold_lines(report, model, save):
            console.line(line)

    data = {**document(report), "saved": str(saved) if saved else None}
    console.result(data, "passed" if report.passed else "failed", human)
    if not report.passed:
        raise typer.Exit(1)


def main(argv: Sequence[str] | None = None, child: Child | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 for what went wrong, 2 for wrong usage.

    `child` is a process that already imports what a verification needs (see `patcher.__main__`).
    """
    install_signal_handlers()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller, who wants to hear nothing
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 still gets the diff
    console = Console()
    try:
        app(args=list(argv) if argv is not None else None, prog_name="patcher", obj=child)
        return 0
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 1
    except Interrupted:
        console.error(PatcherError(*INTERRUPTED))
        return 130
    except PatcherError as error:
        if os.environ.get("HF_DEBUG"):
            print(printable(traceback.format_exc()), file=sys.stderr)
        console.error(error)
        return error.exit_code
    except OSError as error:
        if os.environ.get("HF_DEBUG"):
            print(printable(traceback.format_exc()), file=sys.stderr)
        where = f" ({error.filename})" if error.filename else ""
        console.error(OutputError(f"{error.strerror or error}{where}.", "HF_DEBUG=1 shows where."))
        return 1
    except Exception as error:  # the last resort: a person gets two lines, not a traceback
        if os.environ.get("HF_DEBUG"):
            print(printable(traceback.format_exc()), file=sys.stderr)
        what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        console.error(
            PatcherError(f"Something went wrong that should not: {what}.", "HF_DEBUG=1 shows where; report it.")
        )
        return 1


def _agree(console: Console, trusted: bool, code: Mapping[str, bytes], source: str) -> None:
    """Get a yes to running the model's code: by the flag, or at the prompt that lists the files and their SHA-256."""
    if trusted:
        return
    if sys.stdin.isatty():
        console.talk(f"Verifying runs this code of {source}:")
        for path, content in sorted(code.items()):
            console.talk(f"  {hashlib.sha256(content).hexdigest()}  {path}")
    if not console.confirm("Run it?"):
        raise TrustRequired(
            "Verifying runs the model's own code, and nobody agreed to that.",
            "Read it with `patcher plan`, then add --trust-remote-code (or --no-verify to `patcher patch`).",
        )


def _code_files(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.py"))]


def _nothing(made: Plan) -> str:
    if made.already_patched and made.soft_cap:
        return f"{made.source} is already patched: `{made.soft_cap.expression}` was removed before. Nothing to do."
    return f"{made.source}: {made.nothing_to_do}. Nothing to do."


def _conclude(console: Console, folder: Path, report: Report | None) -> None:
    from patcher.documents.advice import advise
    from patcher.documents.advice import lines as advice_lines

    console.line(_verdict(folder, report))
    advice = advise(report, str(folder)) if report is not None else None
    for line in advice_lines(advice) if advice is not None else ():
        console.line(line)


def _verdict(folder: Path, report: Report | None) -> str:
    if report is None:
        return f"Written: {folder} (not verified; run `patcher verify {folder}` before you use it)"
    if report.passed:
        return f"Verified: {folder} passed all {len(report.all_checks)} checks."
    failed = ", ".join(check.name for check in report.failed)
    return f"FAILED: {folder} did not pass {failed}."


def _leave(report: Report | None) -> None:
    if report is not None and not report.passed:
        raise typer.Exit(1)


__all__ = ["app", "main"]
