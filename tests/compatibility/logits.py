"""Writes the logits of a model folder to a file. Runs on transformers 4.57 as well, and imports nothing of the project.

Usage: python logits.py FOLDER TEXTS.json OUT.safetensors
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

BATCH_SIZE = 4  # texts; one long text must not pad all the others


def main(folder: str, texts: str, max_tokens: str, out: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=True, torch_dtype=torch.float32).eval()
    read = json.loads(Path(texts).read_text())
    rows, synthetic = [], []
    for start in range(0, len(read), BATCH_SIZE):
        batch = tokenizer(
            read[start : start + BATCH_SIZE],
            padding=True,
            truncation=True,
            max_length=int(max_tokens),
            return_tensors="pt",
        )
        with torch.inference_mode():
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        kept = batch["attention_mask"].bool()
        first = torch.zeros_like(kept)
        first[:, 0] = True
        rows.append(logits[kept])
        synthetic.append(first[kept])
    save_file({"logits": torch.cat(rows), "synthetic": torch.cat(synthetic)}, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
