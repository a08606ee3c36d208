"""`patcher patch`, for one model and for a list of models."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from patcher.cli import hints, tables
from patcher.cli import options as opt
from patcher.cli.app import app, examples
from patcher.cli.consent import require_trust, where
from patcher.cli.console import Console, Table
from patcher.constants import MIN_LOGIT_SPARSITY, VERIFY_TIMEOUT
from patcher.errors import UsageError

if TYPE_CHECKING:
    from patcher.planning.options import Options
    from patcher.source.snapshot import Snapshot
    from patcher.verify.settings import Verification


@app.command(
    epilog=examples(
        "patch ltg/norbert4-base --out norbert4-splade --trust-remote-code",
        "patch ./norbert4-base --out norbert4-splade --no-verify",
        "patch --all family --out models --trust-remote-code",
    )
)
def patch(
    *,
    source: Annotated[str | None, typer.Argument(metavar="SOURCE", help=opt.SOURCE_HELP, show_default=False)] = None,
    out: opt.Out = None,
    every: Annotated[
        Path | None,
        typer.Option("--all", metavar="FILE", help="Patch each model in this list; `family` is the bundled one."),
    ] = None,
    revision: opt.Revision = None,
    base_model: opt.BaseModel = None,
    trust_remote_code: opt.Trust = False,
    device: opt.Devices = "auto",
    dtype: opt.Dtype = "float32",
    attn: opt.Attention = None,
    min_logit_sparsity: opt.MinSparsity = MIN_LOGIT_SPARSITY,
    calibrate: Annotated[
        float | None,
        typer.Option(
            help="If logit sparsity does not exceed this (0 to 1), subtract one constant from all logits.",
            min=0,
            max=1,
            metavar="SHARE",
            rich_help_panel=opt.RUNNING,
        ),
    ] = None,
    no_verify: opt.NoVerify = False,
    code_only: opt.CodeOnly = False,
    link: opt.Link = False,
    copy: opt.Copy = False,
    rehash: opt.Rehash = False,
    discard_weights: Annotated[
        bool,
        typer.Option(
            "--discard-weights",
            help="Remove weights that the Hub can copy, once the model is verified.",
            rich_help_panel=opt.STORAGE,
        ),
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(
            metavar="NUMBER",
            help="With --all: patch up to this many models at once on the CPU, as memory allows.",
            min=1,
            rich_help_panel=opt.RUNNING,
        ),
    ] = 1,
    sparse_encoder: opt.Encoder = None,
    reference: opt.Reference = None,
    also_causal_lm: opt.AlsoCausal = False,
    checkpointing: opt.Checkpointing = False,
    trained_without_cap: opt.TrainedWithoutCap = False,
    drop_bos: opt.DropBos = False,
    threshold: opt.BuiltInThreshold = None,
    codemod: opt.Codemods = [],  # noqa: B006 - typer reads it
    timeout: opt.Timeout = VERIFY_TIMEOUT,
    sandbox: opt.Sandbox = "auto",
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Patch a model, verify it, and write its report and card.

    The folder appears only after both models ran on the same texts.
    """
    if code_only and not no_verify:
        raise UsageError("--code-only leaves nothing to run.", "Add --no-verify, or leave out --code-only.")
    if reference is not None and no_verify:
        raise UsageError("--reference compares outputs, and --no-verify runs nothing.", "Leave one of them out.")
    if calibrate is not None and (no_verify or every is not None):
        raise UsageError("--calibrate has to run a single model.", "Leave out --no-verify and --all.")
    if calibrate is not None and threshold is not None:
        raise UsageError(
            "--calibrate is for a model without its cap, and --threshold keeps it.", "Leave one of them out."
        )
    if every is not None and (source is not None or revision is not None or code_only):
        raise UsageError(
            "--all takes its sources from the list.",
            "Leave out SOURCE, --revision and --code-only; a line may be id@revision.",
        )
    if every is None and source is None:
        raise UsageError("There is no SOURCE to patch.", "Pass a SOURCE, or a list of them with --all FILE.")
    if jobs > 1 and (every is None or not (no_verify or device == "cpu")):
        raise UsageError(
            "--jobs is for lists of models on the CPU: on a GPU they would share its memory.",
            "Add --all and --device cpu, or leave out --jobs.",
        )
    # After what costs nothing to refuse.
    from patcher.hashing import forget
    from patcher.planning.options import Options
    from patcher.source.snapshot import resolve
    from patcher.verify.preconditions import check_machine, check_reference
    from patcher.verify.settings import SPARSE_ENCODER, Verification, parse_devices, parse_dtype, wants_sparse_encoder
    from patcher.verify.texts import load_probe_texts

    verification = Verification(
        texts=load_probe_texts(),
        devices=parse_devices(device, reference),
        dtype=parse_dtype(dtype),
        attention=attn,
        min_logit_sparsity=min_logit_sparsity if calibrate is None else calibrate,
        timeout=timeout,
        sandbox=sandbox,
        sparse_encoder=wants_sparse_encoder(sparse_encoder),
        reference=reference,
    )
    storage = opt.storage_of(link=link, copy=copy, code_only=code_only)
    if rehash:
        forget()
    options = Options.choose(
        codemod,
        also_causal_lm=also_causal_lm,
        checkpointing=checkpointing,
        trained_without_cap=trained_without_cap,
        drop_bos=drop_bos,
        threshold=threshold,
    )
    wanted = None if no_verify else verification
    if wanted is not None:
        check_machine(wanted.devices, SPARSE_ENCODER if sparse_encoder else {})
        check_reference(reference)
    console = Console(as_json=as_json, quiet=quiet).listen()
    if every is not None:
        code = _patch_list(
            console,
            every,
            out or Path(),
            options,
            wanted,
            storage,
            discard_weights=discard_weights,
            jobs=jobs,
            trusted=trust_remote_code,
        )
    else:
        assert source is not None
        out = out or opt.default_out(source, "splade" if "soft_cap" in options.names else "repaired")
        flags = {"discard_weights": discard_weights, "trusted": trust_remote_code}
        flags |= {"code_only": code_only, "calibrate": calibrate is not None}
        code = _patch_one(console, resolve(source, revision, base_model), out, options, wanted, storage, **flags)
    raise typer.Exit(code)


def _patch_one(
    console: Console,
    snapshot: Snapshot,
    out: Path,
    options: Options,
    wanted: Verification | None,
    storage: str,
    *,
    code_only: bool,
    discard_weights: bool,
    calibrate: bool,
    trusted: bool,
) -> int:
    """Patch one model; the exit code, which is 0 where it passed or was not verified."""
    from patcher.pipeline import api
    from patcher.planning.plan import make_plan

    since = time.time()
    api.check_out(out, snapshot)
    made = make_plan(snapshot, options)
    if made.nothing_to_do:
        console.result(api.Patched(None, made, None), str(out), lambda: [tables.nothing_line(made)])
        console.hint(hints.after_plan(made, str(made.source), ()))
        return 0
    if wanted is not None:
        if not trusted:  # nobody is asked about what can't run
            api.check_source(made, snapshot, runs=True)
        source = snapshot.source
        require_trust(
            console, made.executed, source, trusted=trusted, changed=made.contents, diff=made.diff, may_skip=True
        )
    console.talk(f"Patching {snapshot.source} into {out} ...")
    with console.progress("texts") as progress:
        done = api.patch_model(
            made,
            snapshot,
            out,
            wanted,
            code_only=code_only,
            storage=storage,
            discard_since=since if discard_weights else None,
            calibrate=calibrate,
            progress=progress,
        )
    console.result(done, str(out), lambda: tables.patched(done, out))
    console.hint(hints.after_report(done.report, out, code_only=code_only))
    return int(done.report is not None and not done.report.passed)


def _patch_list(
    console: Console,
    path: Path,
    out: Path,
    options: Options,
    verification: Verification | None,
    storage: str,
    *,
    discard_weights: bool,
    jobs: int,
    trusted: bool,
) -> int:
    """Plan all models of a list, ask once, then patch them; the exit code of what is worst."""
    from patcher.pipeline.family import inspect_entries, patch_all, read_list

    members = inspect_entries(read_list(path, out), options)
    plans = [member.plan for member in members if member.runs and member.plan is not None]
    code = {where(plan.source, path): content for plan in plans for path, content in plan.executed.items()}
    if verification is not None and code:
        diff = "".join(dict.fromkeys(plan.diff for plan in plans))
        require_trust(console, code, f"{len(plans)} models", trusted=trusted, diff=diff, may_skip=True)
    done = patch_all(members, verification, storage, discard_weights=discard_weights, jobs=jobs)

    def human() -> Iterator[Table | str]:
        yield from tables.family(done)
        for outcome in done.all:
            if outcome.hint:
                console.talk(f"Hint for {outcome.source}: {outcome.hint}")

    console.result(done, "\n".join(map(tables.family_line, done.all)), human)
    console.hint(hints.after_list(done, console.words))
    if any(one.report is not None and not one.report.passed for one in done.all):
        return 1
    return 0 if done.passed else 3
