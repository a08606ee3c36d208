"""The child process of a verification: runs the base and the patched model and writes down what it measured.

Started by `guard.started` as `python -m patcher.verify.measure.child REQUEST ANSWER`, both JSON files. It imports the
libraries at once and waits; nothing of a model is read before its request is there.
"""

from __future__ import annotations

import json
import os
import time
from array import array
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patcher.sandbox.guard import await_request, run_main

if TYPE_CHECKING:
    from patcher.verify.measure.batches import Encoded
    from patcher.verify.measure.comparison import Comparison, Vectors
    from patcher.verify.measure.hardware import Precision


def main(asked: str, answered: str) -> None:
    """Measure what the request asks for. An error of the model's code is part of the answer, not a crash."""
    import_libraries()
    from patcher.verify.measure.hardware import confine_on, keep_freed

    request = await_request(asked)
    keep_freed(request["max_batch_tokens"] * request["vocabulary"] * 4)
    if request["sparse_encoder"]:
        import_module("patcher.verify.measure.sparse_encoder")
    confine_on(request["device"], Path(asked).parent, _given(request))
    Path(answered).write_text(json.dumps(measure(request)), "utf-8")


def _given(request: dict[str, Any]) -> list[str]:
    """The files and folders that the request names, to be read."""
    named = [request["patched"], request["base"], *request["weights"], request["texts"], request["reference"]]
    return [path for path in named if path]


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Load both models, run the texts through them and return the fields of `checks.Measured`.

    The request is what `verification.prepare` makes. An answer with `missing_device` or `no_choice` instead says why
    what was asked for can't be run here at all.
    """
    import torch

    from patcher.verify.measure.hardware import available_devices, choose_device, environment
    from patcher.verify.measure.models import NoChoice

    found = available_devices()
    if request["device"] not in {"auto", *found}:
        return {"missing_device": found}
    device = choose_device(request["device"])
    answer: dict[str, Any] = {
        "not_finite": 0,
        "positions": 0,
        "tensors": 0,
        "tensors_changed": (),
        "buffers": 0,
        "buffers_wrong": (),
        "cap_error": None,
        "predictions_changed": 0,
        "before": {},
        "after": {},
        "environment": {**environment(device), "attention": request["attention"], "batch_size": request["batch_size"]},
    }
    try:
        with torch.inference_mode():
            _measure(request, answer, device)
    except NoChoice as error:
        return {"no_choice": str(error)}
    except Exception as error:  # whatever remote code raises is a finding about the model
        answer["failure"] = f"{type(error).__name__}: {error}".splitlines()[0]
        answer["failure"] = _without_places(answer["failure"], request)
    return answer


def _without_places(message: str, request: dict[str, Any]) -> str:
    """A message without the names of folders that are others the next time."""
    for folder in (request["base"], request["patched"], str(Path(request["texts"]).parent)):
        message = message.replace(f"{folder}{os.sep}", "")
    name = Path(request["base"]).name
    return message.replace(name.replace("-", "_hyphen_"), "base").replace(name, "base")


def import_libraries() -> None:
    """What every model needs: imported while the parent still does its own work."""
    for module in (
        "transformers.modeling_utils",
        "transformers.models.auto.modeling_auto",
        "transformers.models.auto.tokenization_auto",
        "transformers.tokenization_utils_tokenizers",
        "patcher.verify.measure.agreement",
        "patcher.verify.measure.comparison",
        "patcher.verify.measure.hardware",
        "patcher.verify.measure.models",
        "patcher.verify.measure.terms",
    ):
        import_module(module)


def _measure(request: dict[str, Any], answer: dict[str, Any], device: str) -> None:
    import torch
    from transformers import AutoTokenizer

    from patcher.verify.measure.agreement import Agreement
    from patcher.verify.measure.batches import read_texts
    from patcher.verify.measure.comparison import Comparison, Law
    from patcher.verify.measure.models import (
        Recipe,
        changed_tensors,
        fresh_model,
        load_as_users_do,
        share_weights,
        wrong_buffers,
    )
    from patcher.verify.measure.terms import PROBE_TEXTS, Terms

    recipe = Recipe(request["auto_class"], getattr(torch, request["dtype"]), request["attention"])
    patched, info = load_as_users_do(request["patched"], recipe)
    base = fresh_model(request["base"], recipe)
    answer["buffers"], answer["buffers_wrong"] = wrong_buffers(patched, base)
    base = share_weights(base, patched, request["weights"])
    answer["tensors"] = len(patched.state_dict())
    answer["tensors_changed"] = sorted({*info["missing_keys"], *info["unexpected_keys"]})
    patched.to(device)
    base.to(device)

    tokenizer = AutoTokenizer.from_pretrained(request["patched"], trust_remote_code=True)
    total = Comparison(Law.of(request))
    terms = Terms(tokenizer)
    agreement = Agreement(request["digest"], request["reference"])
    active = array("i", [0]) * (request["count"] if request["sparse_encoder"] else 0)

    def take(one: Encoded, vectors: Vectors) -> None:
        terms.add(one.index, vectors.tokens, vectors.base, vectors.patched, vectors.active)
        agreement.add(one.index, vectors.raw)
        if active:
            active[one.index] = vectors.active[1]

    runner = _Runner(request, base, patched, device, tokenizer)
    runner.run(total, take)
    # Both models hold the same tensors: a forward pass that writes into them shows only now.
    wrong = changed_tensors(patched, request["weights"])
    answer["tensors_changed"] = sorted({*answer["tensors_changed"], *wrong})
    answer["cap_error"] = total.cap_error
    answer["predictions_changed"] = total.predictions_changed
    answer["not_finite"] = total.before.not_finite + total.after.not_finite
    answer["positions"] = total.after.positions
    answer["rankings_changed"] = total.rankings_changed
    answer["before"], answer["after"] = total.before.as_json(), total.after.as_json(request["gate"])
    answer["environment"]["batch_size"] = runner.size
    if runner.precision is not None:
        answer["environment"]["dtype"] = str(runner.precision)
        answer |= runner.precision.as_json()
    if request["reference"]:
        answer["disagreement"] = {"largest": agreement.largest, "texts": agreement.texts}
    shown = [text for text, _ in zip(read_texts(request["texts"]), range(PROBE_TEXTS), strict=False)]
    answer["probe_texts"] = terms.as_json(shown)
    if request["sparse_encoder"]:
        from patcher.verify.measure.sparse_encoder import compare

        del patched, base, runner
        answer["sparse_encoder"] = compare(request, active, device)


class _Runner:
    """Runs all texts through both models, in batches that become smaller where memory does not suffice."""

    def __init__(self, request: dict[str, Any], base: Any, patched: Any, device: str, tokenizer: Any) -> None:
        self.request, self.base, self.patched, self.device = request, base, patched, device
        self.tokenizer = tokenizer
        self.size: int = request["batch_size"]
        self.precision: Precision | None = None
        self._progress = Path(request["progress"])
        self._done = 0
        self._told = 0.0

    def run(self, total: Comparison, take: Callable[[Encoded, Vectors], None]) -> None:
        """Add every text to `total` and hand its vectors to `take`."""
        from patcher.verify.measure.batches import batches, windows

        for window in windows(self.request["texts"], self.tokenizer, self.request["max_tokens"]):
            for batch in batches(window, self.size, self.request["max_batch_tokens"]):
                self._add(batch, total, take)

    def _add(self, batch: list[Encoded], total: Comparison, take: Callable[[Encoded, Vectors], None]) -> None:
        """One batch: counted when it is through as a whole, else halved."""
        from patcher.verify.measure.hardware import free_memory, is_out_of_memory

        if len(batch) > self.size:
            for start in range(0, len(batch), self.size):
                self._add(batch[start : start + self.size], total, take)
            return
        try:
            part, vectors = self._forward(batch, total)
        except Exception as error:
            if not is_out_of_memory(error) or len(batch) == 1:
                raise
            part = None
        if part is None:  # out of the handler: its traceback holds the tensors
            self.size = (len(batch) + 1) // 2
            free_memory(self.device)
            self._add(batch, total, take)
            return
        total.merge(part)
        for one, found in zip(batch, vectors, strict=True):
            take(one, found)
        self._tell(len(batch))

    def _forward(self, batch: list[Encoded], total: Comparison) -> tuple[Comparison, list[Vectors]]:
        from patcher.verify.measure.batches import collate
        from patcher.verify.measure.comparison import Comparison
        from patcher.verify.measure.hardware import Precision

        inputs = collate(batch, self.tokenizer.pad_token_id or 0, self.device)
        # The base first: its cap needs the most memory, while nothing else of the batch is held.
        if self.precision is None:
            seen = Precision()
            capped = seen.watch(self.base, inputs)
            self.precision = seen
        else:
            capped = self.base(**inputs).logits
        raw = self.patched(**inputs).logits
        part = Comparison(total.law)
        lengths = [len(one.ids) for one in batch]
        return part, part.add((capped[row, :length], raw[row, :length]) for row, length in enumerate(lengths))

    def _tell(self, texts: int) -> None:
        """Say how many texts are done, some times in a second, where the parent looks for it."""
        self._done += texts
        if time.monotonic() - self._told > 0.2:
            self._told = time.monotonic()
            self._progress.write_text(str(self._done), "utf-8")


if __name__ == "__main__":
    run_main(main)
