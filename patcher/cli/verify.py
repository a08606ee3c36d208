"""`patcher verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from patcher.cli import hints, tables
from patcher.cli import options as opt
from patcher.cli.app import app, examples
from patcher.cli.consent import require_trust
from patcher.cli.console import Console
from patcher.constants import CARD, MIN_LOGIT_SPARSITY, VERIFY_TIMEOUT


@app.command(
    epilog=examples(
        "verify norbert4-splade --trust-remote-code",
        "verify norbert4-splade --device cpu,cuda --texts my-texts.jsonl",
    )
)
def verify(
    folder: opt.FolderArgument,
    *,
    trust_remote_code: opt.Trust = False,
    device: opt.Devices = "auto",
    dtype: opt.Dtype = "float32",
    attn: opt.Attention = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help='Add your own probe texts: .jsonl with a "text" field, or one text per line.'
        ),
    ] = None,
    min_logit_sparsity: opt.MinSparsity = MIN_LOGIT_SPARSITY,
    sparse_encoder: opt.Encoder = None,
    reference: opt.Reference = None,
    timeout: opt.Timeout = VERIFY_TIMEOUT,
    sandbox: opt.Sandbox = "auto",
    rehash: opt.Rehash = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Check a patched folder by running it and its base."""
    from patcher.hashing import forget
    from patcher.patching.record import load
    from patcher.sandbox.guard import started
    from patcher.verify.preconditions import check_folder, check_machine, check_reference
    from patcher.verify.requests import readable
    from patcher.verify.settings import (
        CHILD,
        SPARSE_ENCODER,
        Verification,
        parse_devices,
        parse_dtype,
        wants_sparse_encoder,
    )

    devices, dtype = parse_devices(device, reference), parse_dtype(dtype)
    console = Console(as_json=as_json, quiet=quiet).listen()
    if rehash:
        forget()
    model = load(folder)
    check_folder(model)
    check_machine(devices, SPARSE_ENCODER if sparse_encoder else {})
    check_reference(reference)
    with started(CHILD, devices[0], readable(model), sandbox) as child:
        # It imports its libraries while this process does its own work.
        from patcher.documents import card
        from patcher.pipeline.folder import verify_folder
        from patcher.verify.texts import load_probe_texts

        verification = Verification(
            texts=load_probe_texts(texts),
            devices=devices,
            dtype=dtype,
            attention=attn,
            min_logit_sparsity=min_logit_sparsity,
            timeout=timeout,
            sandbox=sandbox,
            sparse_encoder=wants_sparse_encoder(sparse_encoder),
            reference=reference,
        )
        code = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.py")}
        require_trust(console, code, folder, trusted=trust_remote_code, changed=model.originals, diff=model.diff)
        console.talk(f"Running {model.what_runs} on {len(verification.texts)} texts ...")
        with console.progress("texts") as progress:
            report = verify_folder(folder, verification, child=child, progress=progress)
    if not card.is_ours(folder / CARD):
        console.talk(f"{folder / CARD} was edited by hand and was left unchanged; `patcher card` replaces it.")
    console.result(report, "passed" if report.passed else "failed", lambda: tables.verification(report, folder))
    console.hint(hints.after_report(report, folder))
    raise typer.Exit(0 if report.passed else 1)
