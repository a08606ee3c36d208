"""Runs all texts through one model or two, in batches that become smaller when memory runs out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from transformers import AutoTokenizer

from patcher.verify.measure.batches import Encoded, batches, collate, windows
from patcher.verify.measure.hardware import Precision, free_memory, is_out_of_memory, tune_malloc
from patcher.verify.measure.outputs import shaped, tensors
from patcher.verify.messages import Request

T = TypeVar("T")
_WATCHED = 8  # tokens of the pass whose operations are watched
Inputs = dict[str, torch.Tensor]
Forward = Callable[[list[Encoded], Inputs], T]
Add = Callable[[list[Encoded], T], None]


class Runner(Generic[T]):
    """Runs batches, halves those that do not fit into memory, and counts each text once.

    `size` is the number of texts in a batch that fits; `precision` is what a forward pass computed in. To be made after
    the models are loaded, since it tunes the allocator (see `tune_malloc`).
    """

    def __init__(self, request: Request, folder: str, device: str) -> None:
        self.request, self.device = request, device
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
        self.size = request.batch_size
        self.precision: Precision | None = None
        self._done = 0
        self._reported_at = 0.0
        tune_malloc(request.max_batch_tokens * request.vocabulary * 4)

    @torch.no_grad()  # a table that the model keeps has to be one that it can be trained with
    def run(self, forward: Forward[T], add: Add[T]) -> None:
        """Give what `forward` makes of each batch to `add`; only what `add` does is kept of a batch."""
        for window in windows(self.request.texts, self.tokenizer, self.request.max_tokens):
            for batch in batches(window, self.size, self.request.max_batch_tokens):
                self._run(batch, forward, add)

    def outputs(self, model: Any, inputs: Inputs) -> list[torch.Tensor]:
        """What a model gives for each text, see `outputs.tensors`.

        Those of a vocabulary head are its logits [batch, tokens, vocabulary].
        """
        if self.precision is None:
            # A pass of its own: watched operations are composed of others, which round otherwise.
            few = {name: values[:1, :_WATCHED] for name, values in inputs.items()}
            with Precision() as precision:
                found = self._outputs(model, few)
            precision.inspect_head(found[0][0])
            self.precision = precision
        return self._outputs(model, inputs)

    def _outputs(self, model: Any, inputs: Inputs) -> list[torch.Tensor]:
        return tensors(model(**shaped(inputs, self.request.auto_class)), len(next(iter(inputs.values()))))

    def _run(self, batch: list[Encoded], forward: Forward[T], add: Add[T]) -> None:
        """One batch: added when all of it went through, else halved."""
        if len(batch) > self.size:
            size = self.size  # a half that fails shrinks it
            for start in range(0, len(batch), size):
                self._run(batch[start : start + size], forward, add)
            return
        try:
            found = forward(batch, collate(batch, self.tokenizer.pad_token_id or 0, self.device))
        except Exception as error:
            if not is_out_of_memory(error) or len(batch) == 1:
                raise
        else:
            add(batch, found)
            self._report(len(batch))
            return
        # Outside of the handler: its traceback holds the tensors.
        self.size = (len(batch) + 1) // 2
        free_memory(self.device)
        self._run(batch, forward, add)

    def _report(self, texts: int) -> None:
        """Write how many texts are done, a few times a second and in the end, to the file that the parent reads."""
        self._done += texts
        if self._done == self.request.count or time.monotonic() - self._reported_at > 0.2:
            self._reported_at = time.monotonic()
            Path(self.request.progress).write_text(str(self._done), "utf-8")
