"""In the child: loads masked LMs whose cap stays as their users do, and measures what they compute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from patcher.sandbox.child import Service
from patcher.verify.measure.agreement import Agreements
from patcher.verify.measure.batches import Encoded
from patcher.verify.measure.figures import Figures
from patcher.verify.measure.models import (
    LoadSpec,
    changed_tensors,
    fresh_model,
    load_as_users_do,
    wrong_buffers,
)
from patcher.verify.measure.runner import Inputs, Runner
from patcher.verify.measure.serving import enter_sandbox, measured
from patcher.verify.messages import Encoder, KeptCapMeasured, KeptCapRequest


def measure(request: KeptCapRequest) -> KeptCapMeasured:
    """Load each masked LM and run the texts through it; then load all of them with SparseEncoder, if asked for."""

    folders = (request.patched, str(Path(request.texts).parent), *(one.folder for one in request.encoders))
    steps = partial(_steps, request)
    return measured(request.device, KeptCapMeasured, steps, dict.fromkeys(folders, ""), positions=0, patched=None)


def _steps(request: KeptCapRequest, found: KeptCapMeasured, device: str) -> Iterator[KeptCapMeasured]:
    for encoder in request.encoders:
        for found in _run(encoder, request, found, device):  # noqa: B020 - each step goes on from the last one
            yield found
    if request.sparse_encoder:
        from patcher.verify.measure.sparse_encoder import load

        yield replace(found, sparse_encoder=load(request, device))


def _run(encoder: Encoder, request: KeptCapRequest, found: KeptCapMeasured, device: str) -> Iterator[KeptCapMeasured]:
    """Add what one masked LM shows; the figures, the precision and the comparison are those of the first."""
    spec = LoadSpec(dtype=getattr(torch, request.dtype), attention=request.attention)
    model, info = load_as_users_do(encoder.folder, spec)
    buffers, wrong = wrong_buffers(model, fresh_model(encoder.folder, spec))
    found = replace(
        found,
        buffers=found.buffers + buffers,
        buffers_wrong=(*found.buffers_wrong, *wrong),
        tensors=found.tensors + len(model.state_dict()),
    )
    yield found
    model.to(device)
    first = found.patched is None
    figures, agreements = Figures(), Agreements(request.digest, request.reference)
    runner: Runner[tuple[Figures, list[torch.Tensor | None]]] = Runner(request, encoder.folder, device)

    def forward(batch: list[Encoded], inputs: Inputs) -> tuple[Figures, list[torch.Tensor | None]]:
        part, largest = Figures(), []
        for text, encoded in zip(runner.logits(model, inputs), batch, strict=True):
            real = text[1 : len(encoded.ids)]  # the first row is synthetic, the last ones are padding
            if part.add_extremes(real):
                part.logits.add(real.float())
            part.add_vector(text[: len(encoded.ids)].amax(0), len(encoded.ids))
            largest.append(real.amax(0) if len(real) else None)
        return part, largest

    def add(batch: list[Encoded], results: tuple[Figures, list[torch.Tensor | None]]) -> None:
        figures.merge(results[0])
        for one, largest in zip(batch, results[1], strict=True):
            if first and largest is not None:
                agreements.add(one.index, largest)

    runner.run(forward, add)
    # After the run: a forward pass that writes into its weights is visible only now.
    changed = {*info["missing_keys"], *info["unexpected_keys"], *changed_tensors(model, encoder.weights)}
    found = replace(
        found,
        tensors_changed=(*found.tensors_changed, *sorted(changed)),
        not_finite=found.not_finite + figures.not_finite,
        positions=found.positions + figures.positions,
    )
    if first:
        found = replace(found, patched=figures.result(), agreement=agreements.result())
        if runner.precision is not None:
            found = replace(found, **runner.precision.fields(found.environment))
    yield found


SERVICE = Service(
    KeptCapRequest,
    lambda request, scratch: enter_sandbox(
        request, scratch, [path for encoder in request.encoders for path in (encoder.folder, *encoder.weights)]
    ),
    measure,
)
