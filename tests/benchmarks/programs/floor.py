"""The least that anybody has to do who runs both models on the texts; nothing is computed from the logits.

    python floor.py BASE PATCHED BATCHES

One process imports torch and transformers, loads both folders with `from_pretrained` and runs the batches, a JSON list
of lists of texts. It imports nothing of this project, and is run by path.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

MAX_TOKENS = 520


def main(base: str, patched: str, batches: str) -> None:
    models = [
        AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=True, dtype=torch.float32).eval()
        for folder in (base, patched)
    ]
    tokenizer = AutoTokenizer.from_pretrained(patched, trust_remote_code=True, padding_side="right")
    with torch.inference_mode():
        for texts in json.loads(Path(batches).read_text()):
            encoded = tokenizer(
                texts,
                padding=True,
                truncation=True,
                max_length=MAX_TOKENS,
                return_token_type_ids=False,
                return_tensors="pt",
            )
            for model in models:
                model(**encoded)


if __name__ == "__main__":
    main(*sys.argv[1:])
