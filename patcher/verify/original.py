"""Runs the published code of a patched model in another environment, with the transformers that it was written for."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from patcher.errors import UsageError
from patcher.patching.record import PatchedModel
from patcher.sandbox.guard import ask, started
from patcher.verify.messages import OriginalRun
from patcher.verify.preconditions import MAKE_REFERENCE, check_reference
from patcher.verify.requests import encoder_files, lay_out, max_tokens, readable
from patcher.verify.settings import Verification

CHILD, OUTPUTS = "patcher.verify.measure.original", "outputs"  # the child's module, and its folder of answers
TEXTS = 16  # the first ones; their logits are kept on the disk


@dataclass(frozen=True)
class OriginalRequest:
    """What the other environment is asked for: the outputs of the model in `folder` for some texts."""

    folder: str
    auto_class: str
    texts: tuple[str, ...]
    max_tokens: int


def run_original(model: PatchedModel, settings: Verification, target: Path) -> OriginalRun | None:
    """Move what the published code gives for the first texts to `target`; None if no `reference` was asked for.

    Executes that code, in a child process like any other. Raises UsageError where that environment is not the right
    one, VerificationError where the code does not run in it.
    """
    python = settings.reference
    if python is None:
        return None
    check_reference(python)
    encoder = model.encoders[0] if model.encoders else ""
    files = {
        name: model.originals.get(file.source_path) or model.folder / file.path
        for name, file in encoder_files(model, encoder).items()
    }
    with started(CHILD, "cpu", readable(model), settings.sandbox, python=python.absolute()) as child:
        folder = lay_out(files, child.scratch / f"original-{token_hex(4)}")
        texts = tuple(one.text for one in settings.texts[:TEXTS])
        request = OriginalRequest(str(folder), model.auto_class, texts, max_tokens(model))
        found = ask(child, request, OriginalRun, settings.timeout)
        if not found.texts:
            why = f"{python} has transformers {found.transformers}, on which the published code does not run."
            raise UsageError(why, MAKE_REFERENCE)
        shutil.move(child.scratch / OUTPUTS, target)
    return found
