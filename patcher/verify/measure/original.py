"""Runs the published code of a model in an environment that has the transformers that it was written for.

It needs torch, transformers and safetensors there, and nothing else. What it imports of this package does not either.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

from patcher.sandbox.child import leave_session
from patcher.sandbox.hook import confine_process
from patcher.verify.measure.outputs import rows, shaped, tensors

OUTPUTS = "outputs"  # the folder of the answers, in the scratch folder


def main(scratch: Path) -> None:
    """Answer the request in `scratch`, when the input ends."""
    leave_session()
    sys.stdin.buffer.read()
    path = scratch / "request.json"
    if path.is_file():
        confine_process(scratch)
        answer = run(json.loads(path.read_text("utf-8")), scratch)
        (scratch / "answer.json").write_text(json.dumps(answer), "utf-8")


def run(request: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Write token ids [tokens] and the output [rows, values] of each text to a file with its number, in `OUTPUTS`.

    On transformers 5 nothing runs.
    """
    texts = request["texts"] if transformers.__version__.startswith("4.") else []
    if texts:
        _run(request["folder"], request["auto_class"], texts, request["max_tokens"], scratch / OUTPUTS)
    return {"transformers": transformers.__version__, "texts": len(texts)}


def _run(folder: str, auto_class: str, texts: list[str], max_tokens: int, outputs: Path) -> None:
    outputs.mkdir()
    tokenizer = _tokenizer(folder)
    loader = getattr(transformers, auto_class)
    model = loader.from_pretrained(folder, trust_remote_code=True, torch_dtype=torch.float32).eval()
    for index, text in enumerate(texts):
        encoded = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")
        inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            output = tensors(model(**shaped(inputs, auto_class)), 1)
        ids = inputs["input_ids"][0]
        (row,) = rows(output, auto_class, [len(ids)])
        found = {"ids": ids.clone(), "output": row.contiguous().clone()}
        save_file(found, str(outputs / f"{index}.safetensors"))


def _tokenizer(folder: str) -> Any:
    """The tokenizer; one that transformers 5 saved names a class that 4 does not have."""
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    except ValueError:
        return transformers.PreTrainedTokenizerFast.from_pretrained(folder)


if __name__ == "__main__":  # python -m patcher.verify.measure.original SCRATCH
    main(Path(sys.argv[1]))
