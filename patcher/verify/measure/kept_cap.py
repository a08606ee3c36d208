"""In the child: loads masked LMs whose cap stays as their users do, and measures what they compute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import torch

from patcher.sandbox.child import Service
from patcher.verify.measure.agreement import Agreements
from patcher.verify.measure.batches import Encoded, read_texts
from patcher.verify.measure.figures import Figures
from patcher.verify.measure.hardware import confine_on_device, environment
from patcher.verify.measure.models import (
    LoadSpec,
    changed_tensors,
    fresh_model,
    load_as_users_do,
    nan_filled_memory,
    wrong_buffers,
)
from patcher.verify.measure.runner import Inputs, Runner
from patcher.verify.measure.serving import measured
from patcher.verify.messages import NOTHING, Encoder, EncoderLoaded, KeptCapMeasured, KeptCapRequest


def measure(request: KeptCapRequest) -> KeptCapMeasured:
    """Load each masked LM and run the texts through it; then load all of them with SparseEncoder, if asked for."""

    def start(device: str) -> KeptCapMeasured:
        return KeptCapMeasured(
            environment=environment(device),
            **NOTHING,
            positions=0,
            patched=None,
        )

    folders = {encoder.folder: "" for encoder in request.encoders} | {str(Path(request.texts).parent): ""}
    folders |= {request.sparse_encoder: ""} if request.sparse_encoder else {}
    return measured(request.device, start, lambda found, device: _steps(request, found, device), folders)


def _steps(request: KeptCapRequest, found: KeptCapMeasured, device: str) -> Iterator[KeptCapMeasured]:
    for encoder in request.encoders:
        for found in _run(encoder, request, found, device):  # noqa: B020 - each step goes on from the last one
            yield found
    if request.sparse_encoder is not None:
        yield replace(found, sparse_encoder=_as_sparse_encoder(request, request.sparse_encoder, device))


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


def _as_sparse_encoder(request: KeptCapRequest, folder: str, device: str) -> EncoderLoaded:
    """Load the folder as a user of sentence-transformers would, and encode the texts."""
    from sentence_transformers import SparseEncoder, __version__

    from patcher.verify.measure.sparse_encoder import model_kwargs

    with nan_filled_memory():
        model = SparseEncoder(
            folder, trust_remote_code=True, device="cpu", local_files_only=True, model_kwargs=model_kwargs(request)
        )
    model.to(device)
    model.max_seq_length = request.max_tokens
    embeddings = model.encode_document(
        [record["text"] for record in read_texts(request.texts)],
        batch_size=request.batch_size,
        convert_to_sparse_tensor=False,
        show_progress_bar=False,
    )
    return EncoderLoaded(
        version=__version__,
        splade=any(type(module).__name__ == "SpladePooling" for module in model.modules()),
        not_finite=int((~torch.isfinite(embeddings)).sum()),
    )


def _enter_sandbox(request: KeptCapRequest, scratch: Path) -> None:
    if request.sparse_encoder:
        import_module("sentence_transformers")
    encoders = [path for encoder in request.encoders for path in (encoder.folder, *encoder.weights)]
    named = (*encoders, request.texts, request.sparse_encoder, request.reference)
    confine_on_device(request.device, scratch, [path for path in named if path])


SERVICE = Service(KeptCapRequest, _enter_sandbox, measure)
