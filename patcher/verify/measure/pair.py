"""In the child: runs the base and the patched model on the same weights, and compares their logits."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from patcher.sandbox.child import Service
from patcher.verify.measure.agreement import Agreements
from patcher.verify.measure.batches import Encoded, read_texts
from patcher.verify.measure.comparison import Comparison, Vectors
from patcher.verify.measure.hardware import tune_malloc
from patcher.verify.measure.models import (
    LoadSpec,
    changed_tensors,
    fresh_model,
    load_as_users_do,
    share_weights,
    wrong_buffers,
)
from patcher.verify.measure.runner import Inputs, Runner
from patcher.verify.measure.serving import enter_sandbox, measured
from patcher.verify.measure.terms import PROBE_TEXTS, Terms
from patcher.verify.messages import PairMeasured, PairRequest


def measure(request: PairRequest) -> PairMeasured:
    """Load both models, run the texts through them and compare."""

    return measured(
        request.device,
        PairMeasured,
        partial(_steps, request),
        {request.base: "base", request.patched: "", str(Path(request.texts).parent): ""},
        positions=0,
        cap_error=None,
        predictions_changed=0,
        rankings_changed=0,
        batch_size=request.batch_size,
        base=None,
        patched=None,
    )


def _steps(request: PairRequest, found: PairMeasured, device: str) -> Iterator[PairMeasured]:
    spec = LoadSpec(request.auto_class, getattr(torch, request.dtype), request.attention)
    patched, info = load_as_users_do(request.patched, spec)
    base = fresh_model(request.base, spec)
    buffers, wrong = wrong_buffers(patched, base)
    changed = {*info["missing_keys"], *info["unexpected_keys"]}
    found = replace(
        found,
        buffers=buffers,
        buffers_wrong=tuple(wrong),
        tensors=len(patched.state_dict()),
        tensors_changed=tuple(sorted(changed)),
    )
    yield found
    base = share_weights(base, patched, request.weights)
    patched.to(device)
    base.to(device)

    runner: Runner[tuple[Comparison, list[Vectors]]] = Runner(request, request.patched, device)
    total, terms = Comparison(request.cap), Terms(runner.tokenizer)
    agreements = Agreements(request.digest, request.reference)
    active = array("i", [0]) * (request.count if request.sparse_encoder else 0)

    def forward(batch: list[Encoded], inputs: Inputs) -> tuple[Comparison, list[Vectors]]:
        # The base first: its cap needs the most memory, while nothing else of the batch is held.
        capped = runner.logits(base, inputs)
        raw: torch.Tensor = patched(**inputs).logits
        part = Comparison(request.cap)
        lengths = [len(one.ids) for one in batch]
        return part, part.add((capped[row, :length], raw[row, :length]) for row, length in enumerate(lengths))

    def add(batch: list[Encoded], results: tuple[Comparison, list[Vectors]]) -> None:
        total.merge(results[0])
        for one, vectors in zip(batch, results[1], strict=True):
            terms.add(one.index, vectors.tokens, vectors.base, vectors.patched, vectors.active)
            agreements.add(one.index, vectors.raw)
            if active:
                active[one.index] = vectors.active[1]

    runner.run(forward, add)
    # Both models hold the same tensors: a forward pass that writes into them is visible only now.
    changed |= set(changed_tensors(patched, request.weights))
    found = replace(
        found,
        tensors_changed=tuple(sorted(changed)),
        not_finite=total.base.not_finite + total.patched.not_finite,
        positions=total.patched.positions,
        cap_error=total.cap_error,
        predictions_changed=total.predictions_changed,
        rankings_changed=total.rankings_changed,
        base=total.base.result(),
        patched=total.patched.patched_result(request.min_logit_sparsity),
        batch_size=runner.size,
        agreement=agreements.result(),
        probe_texts=terms.result(list(islice(read_texts(request.texts), PROBE_TEXTS))),
        **(runner.precision.fields(found.environment) if runner.precision else {}),
    )
    yield found
    if request.sparse_encoder:
        from patcher.verify.measure.sparse_encoder import compare

        del patched, base, runner, forward
        yield replace(found, sparse_encoder=compare(request, active, device))


def _enter_sandbox(request: PairRequest, scratch: Path) -> None:
    tune_malloc(request.max_batch_tokens * request.vocabulary * 4)
    enter_sandbox(request, scratch, (request.base, *request.weights))


SERVICE = Service(PairRequest, _enter_sandbox, measure)
