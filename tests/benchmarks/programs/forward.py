"""Seconds of the forward pass of the patched and of the base model, in turns in one process.

    python forward.py BASE PATCHED PAIRS [BATCH LENGTH]

The batch is as large as one trains with: 8 texts of 128 tokens. Prints [[patched, base], ...] as JSON. Imports nothing
of this project, and is run by path.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from transformers import AutoModelForMaskedLM, PreTrainedModel


def main(base: str, patched: str, pairs: str, batch: str = "8", length: str = "128") -> None:
    models = [
        AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=True, dtype=torch.float32).eval()
        for folder in (patched, base)
    ]
    torch.manual_seed(0)
    ids = torch.randint(5, models[0].config.vocab_size, (int(batch), int(length)))
    found = []
    with torch.inference_mode():
        for model in models:
            seconds(model, ids)
        for number in range(int(pairs)):
            order = (0, 1) if number % 2 == 0 else (1, 0)
            pair = {which: seconds(models[which], ids) for which in order}
            found.append([pair[0], pair[1]])
    print(json.dumps(found))


def seconds(model: PreTrainedModel, ids: torch.Tensor) -> float:
    start = time.perf_counter()
    model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return time.perf_counter() - start


if __name__ == "__main__":
    main(*sys.argv[1:])
