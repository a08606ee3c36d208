"""`patcher repair`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from patcher.cli import options as opt
from patcher.cli.app import app, examples
from patcher.cli.patch import patch
from patcher.constants import VERIFY_TIMEOUT


@app.command(
    epilog=examples(
        "repair Fremtind/norsbert4-base --out norsbert4 --trust-remote-code",
        "repair ./my-classifier --reference .venv4/bin/python",
    )
)
def repair(
    source: opt.SourceArgument,
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder to write.  [default: NAME-repaired]")
    ] = None,
    revision: opt.Revision = None,
    base_model: opt.BaseModel = None,
    trust_remote_code: opt.Trust = False,
    device: opt.Devices = "auto",
    dtype: opt.Dtype = "float32",
    attn: opt.Attention = None,
    no_verify: opt.NoVerify = False,
    code_only: opt.CodeOnly = False,
    link: opt.Link = False,
    copy: opt.Copy = False,
    rehash: opt.Rehash = False,
    sparse_encoder: opt.Encoder = None,
    reference: opt.Reference = None,
    checkpointing: opt.Checkpointing = False,
    drop_bos: opt.DropBos = False,
    timeout: opt.Timeout = VERIFY_TIMEOUT,
    sandbox: opt.Sandbox = "auto",
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Make a model load correctly on transformers 5.

    Works on any model of the family: its weights and its cap stay.
    """
    patch(
        source=source,
        out=out,
        revision=revision,
        base_model=base_model,
        trust_remote_code=trust_remote_code,
        device=device,
        dtype=dtype,
        attn=attn,
        no_verify=no_verify,
        code_only=code_only,
        link=link,
        copy=copy,
        rehash=rehash,
        sparse_encoder=sparse_encoder,
        reference=reference,
        checkpointing=checkpointing,
        drop_bos=drop_bos,
        codemod=["repairs"],
        timeout=timeout,
        sandbox=sandbox,
        as_json=as_json,
        quiet=quiet,
    )
