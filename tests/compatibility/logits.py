"""Writes the logits of a model folder to a file. Runs on transformers 4.57 as well, and imports nothing of the project.

Usage: python logits.py FOLDER TEXTS.json OUT.safetensors
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForMaskedLM, AutoTokenizer


def main(folder: str, texts: str, out: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=True, torch_dtype=torch.float32).eval()
    batch = tokenizer(json.loads(Path(texts).read_text()), padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    save_file({"logits": logits.contiguous(), "mask": batch["attention_mask"]}, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
