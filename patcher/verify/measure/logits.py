"""In the child: runs models on the texts, compares a patched one with its base model, and measures their outputs."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from itertools import islice, zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import nn

from patcher.sandbox.child import Service
from patcher.verify.measure.agreement import Agreements, Original
from patcher.verify.measure.batches import Encoded, read_texts
from patcher.verify.measure.calls import LONGER, Outcome, long_outcome
from patcher.verify.measure.comparison import Comparison, Vectors, apply_cap, is_dropped
from patcher.verify.measure.figures import Figures
from patcher.verify.measure.hardware import confine_on_device
from patcher.verify.measure.models import (
    LoadSpec,
    changed_tensors,
    fresh_model,
    load_as_users_do,
    share_weights,
    unmatched_tensors,
    wrong_buffers,
)
from patcher.verify.measure.modes import Modes, Reference
from patcher.verify.measure.outputs import has_vocabulary_head, rows
from patcher.verify.measure.runner import Inputs, Runner
from patcher.verify.measure.serving import measured
from patcher.verify.measure.terms import PROBE_TEXTS, Terms
from patcher.verify.messages import Base, Encoder, LogitsMeasured, ModeResult, PairMeasured, Request, SingleMeasured
from patcher.verify.settings import USUAL_TOKENS

M = TypeVar("M", bound=LogitsMeasured)
_MODE_TEXTS = 8  # texts that the modes are run on


def measure(request: Request) -> LogitsMeasured:
    """Load the models and run the texts through them; then load the folder with SparseEncoder, if asked for."""
    folders = (request.patched, str(Path(request.texts).parent), *(one.folder for one in request.encoders))
    names = dict.fromkeys(folders, "")
    if request.base is None:
        steps = partial(_run_all, request)
        return measured(request.device, SingleMeasured, steps, names, positions=0, patched=None)
    return measured(
        request.device,
        PairMeasured,
        partial(_run_pair, request, request.base),
        {**names, request.base.folder: "base"},
        positions=0,
        cap_error=None,
        predictions_changed=0,
        rankings_changed=0,
        batch_size=request.batch_size,
        base=None,
        patched=None,
    )


def _run_pair(request: Request, capped_base: Base, found: PairMeasured, device: str) -> Iterator[PairMeasured]:
    """Run the base and the patched model on the same weights, and compare their logits."""
    weights = request.encoders[0].weights
    patched, base, changed, found = _load(request, request.patched, capped_base.folder, weights, found)
    found = replace(found, tensors_changed=tuple(sorted(changed)))
    yield found
    base = share_weights(base, patched, weights)
    patched.to(device)
    base.to(device)

    runner: Runner[tuple[Comparison, list[Vectors]]] = Runner(request, request.patched, device)
    total, terms = Comparison(capped_base.cap, request.drops_bos), Terms(runner.tokenizer)
    agreements, original = Agreements(request.digest, request.reference), Original(request.original)
    active = array("i", [0]) * (request.count if request.sparse_encoder else 0)
    known: dict[str, tuple[Outcome, Outcome]] = {}

    def forward(batch: list[Encoded], inputs: Inputs) -> tuple[Comparison, list[Vectors]]:
        # The base first: its cap needs the most memory, while nothing else of the batch is held.
        capped, *_ = runner.outputs(base, inputs)
        raw, *_ = runner.outputs(patched, inputs)
        part = Comparison(capped_base.cap, request.drops_bos)
        pairs = [(capped[row, : len(one.ids)], raw[row, : len(one.ids)]) for row, one in enumerate(batch)]
        for one, (base_rows, patched_rows) in zip(batch, pairs, strict=True):
            if len(one.ids) > USUAL_TOKENS and LONGER not in known:
                known[LONGER] = long_outcome(patched_rows), long_outcome(base_rows)
            original.add(one, patched_rows, base_rows, capped_base.cap)
        return part, part.add(pairs)

    def add(batch: list[Encoded], results: tuple[Comparison, list[Vectors]]) -> None:
        total.merge(results[0])
        for one, vectors in zip(batch, results[1], strict=True):
            terms.add(one.index, vectors.tokens, vectors.base, vectors.patched, vectors.active)
            agreements.add(one.index, vectors.raw)
            if active:
                active[one.index] = vectors.active[1]

    runner.run(forward, add)
    cap = capped_base.cap
    reference = Reference(base, partial(apply_cap, cap), uncapped=cap.kind != "identity", drops_bos=request.drops_bos)
    # Both models hold the same tensors: those of one are the other's, too.
    modes, late = _run_modes(request, request.encoders[0], patched, runner.tokenizer, reference, known)
    changed |= late - {*found.tensors_unused, *found.tensors_initial}
    found = replace(
        found,
        tensors_changed=tuple(sorted(changed)),
        not_finite=total.base.not_finite + total.patched.not_finite,
        positions=total.patched.positions,
        cap_error=total.cap_error,
        predictions_changed=total.predictions_changed,
        rankings_changed=total.rankings_changed,
        bos_rows_wrong=total.bos_rows_wrong if request.drops_bos else None,
        base=total.base.result(),
        patched=total.patched.patched_result(request.min_logit_sparsity),
        batch_size=runner.size,
        modes=modes,
        agreement=agreements.result(),
        original=original.result(),
        probe_texts=terms.result(list(islice(read_texts(request.texts), PROBE_TEXTS))),
        **(runner.precision.fields(found.environment) if runner.precision else {}),
    )
    yield found
    if request.sparse_encoder:
        from patcher.verify.measure.sparse_encoder import compare

        del patched, base, runner, forward, reference
        yield replace(found, sparse_encoder=compare(request, active, device))


def _run_all(request: Request, found: SingleMeasured, device: str) -> Iterator[SingleMeasured]:
    """Run each model that has no base, as its users load it."""
    for encoder in request.encoders:
        for found in _run(encoder, request, found, device):  # noqa: B020 - each step goes on from the last one
            yield found
    if request.sparse_encoder:
        from patcher.verify.measure.sparse_encoder import load

        yield replace(found, sparse_encoder=load(request, device))


def _run(encoder: Encoder, request: Request, found: SingleMeasured, device: str) -> Iterator[SingleMeasured]:
    """Add what one model shows; the figures, the precision and the comparisons are those of the first."""
    first = found.patched is None
    undropped_folder = request.undropped if first else None
    fresh_folder = undropped_folder or encoder.folder
    model, fresh, changed, found = _load(request, encoder.folder, fresh_folder, encoder.weights, found)
    yield found
    undropped = share_weights(fresh, model, encoder.weights).to(device) if undropped_folder else None
    del fresh
    model.to(device)
    figures, agreements, original = Figures(), Agreements(request.digest, request.reference), Original(request.original)
    runner: Runner[tuple[Figures, list[torch.Tensor], list[torch.Tensor]]] = Runner(request, encoder.folder, device)
    synthetic = int(has_vocabulary_head(request.auto_class))  # the first row
    rows_wrong = 0

    def forward(batch: list[Encoded], inputs: Inputs) -> tuple[Figures, list[torch.Tensor], list[torch.Tensor]]:
        part, lengths = Figures(), [len(one.ids) for one in batch]
        texts = rows(runner.outputs(model, inputs), request.auto_class, lengths)
        bases = rows(runner.outputs(undropped, inputs), request.auto_class, lengths) if undropped is not None else []
        for text, encoded in zip(texts, batch, strict=True):
            if part.add_extremes(text[synthetic:]):
                part.logits.add(text[synthetic:].float())
            part.add_vector(text.amax(0), len(encoded.ids))
        return part, texts, bases

    def add(batch: list[Encoded], results: tuple[Figures, list[torch.Tensor], list[torch.Tensor]]) -> None:
        nonlocal rows_wrong
        figures.merge(results[0])
        for one, text, base in zip_longest(batch, results[1], results[2]) if first else ():
            original.add(one, text, base)
            if base is not None:
                rows_wrong += not (is_dropped(base[0], text[0]) and torch.equal(base[1:], text[1:]))
            if len(text) > synthetic:
                agreements.add(one.index, text[synthetic:].amax(0))

    runner.run(forward, add)
    reference = None
    if undropped is not None:
        name = "the model with its first row"
        reference = Reference(undropped, torch.Tensor.float, name, uncapped=False, drops_bos=True)
    modes, late = _run_modes(request, encoder, model, runner.tokenizer, reference)
    changed |= late - {*found.tensors_unused}
    found = replace(
        found,
        tensors_changed=(*found.tensors_changed, *sorted(changed)),
        not_finite=found.not_finite + figures.not_finite,
        positions=found.positions + figures.positions,
        modes=(*found.modes, *(modes if first else _numbered(modes, request.encoders.index(encoder) + 1))),
    )
    if first:
        precision = runner.precision.fields(found.environment) if runner.precision else {}
        found = replace(
            found,
            patched=figures.result(),
            agreement=agreements.result(),
            original=original.result(),
            bos_rows_wrong=rows_wrong if undropped is not None else None,
            **precision,
        )
    yield found


def _load(
    request: Request, folder: str, fresh_folder: str, weights: tuple[str, ...], found: M
) -> tuple[nn.Module, nn.Module, set[str], M]:
    """A loaded model, a fresh one, the keys that did not match the checkpoint, and the answer with what these show.

    Keys that match neither model are no difference between them. But without the vocabulary's weights, or without
    a base model that lacks the same ones, initial values prove nothing; and weights that a model without a base leaves
    unused are those of another class.
    """
    spec = _load_spec(request)
    model, info = load_as_users_do(folder, spec)
    fresh = fresh_model(fresh_folder, spec)
    buffers, wrong = wrong_buffers(model, fresh)
    unused, initial = unmatched_tensors(model, fresh, weights)
    state = model.state_dict()
    initial = {name for name in initial if request.base and request.vocabulary not in state[name].shape}
    of_another_class = set() if request.base else unused & set(info["unexpected_keys"])
    unused -= of_another_class
    found = replace(
        found,
        buffers=found.buffers + buffers,
        buffers_wrong=(*found.buffers_wrong, *wrong),
        tensors=found.tensors + len(state),
        tensors_unused=(*found.tensors_unused, *sorted(unused)),
        tensors_initial=(*found.tensors_initial, *sorted(initial)),
        tensors_of_another_class=(*found.tensors_of_another_class, *sorted(of_another_class)),
    )
    return model, fresh, {*info["missing_keys"], *info["unexpected_keys"]} - unused - initial, found


def _load_spec(request: Request) -> LoadSpec:
    return LoadSpec(request.auto_class, getattr(torch, request.dtype), request.attention)


def _run_modes(
    request: Request,
    encoder: Encoder,
    model: nn.Module,
    tokenizer: Any,
    reference: Reference | None = None,
    known: Mapping[str, tuple[Outcome, Outcome]] = MappingProxyType({}),
) -> tuple[tuple[ModeResult, ...], set[str]]:
    """What each mode of use shows (see `modes`); none if the texts hold no token.

    The second are the tensors that differ from the checkpoint's: that a forward pass writes into them is visible only
    after all of them. The models are of no use afterwards.
    """
    some = [record["text"] for record in islice(read_texts(request.texts), _MODE_TEXTS)]
    texts = [ids for ids in tokenizer(some, truncation=True, max_length=request.max_tokens)["input_ids"] if ids]
    if not texts:
        return (), set(changed_tensors(model, encoder.weights))
    modes = Modes(model, texts, tokenizer.pad_token_id or 0, reference, request.auto_class, known)
    results = tuple(modes.run())
    changed = set(changed_tensors(model, encoder.weights))
    saved = modes.save_and_load(encoder.folder, _load_spec(request), Path(request.texts).parent, encoder.linked)
    return (*results, saved), changed


def _numbered(modes: tuple[ModeResult, ...], number: int) -> tuple[ModeResult, ...]:
    return tuple(replace(one, name=f"{one.name}, encoder {number}") for one in modes)


def _enter_sandbox(request: Request, scratch: Path) -> None:
    if request.sparse_encoder:
        import_module("sentence_transformers")
    confine_on_device(request.device, scratch)


SERVICE = Service(Request, _enter_sandbox, measure)
