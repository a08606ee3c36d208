"""The child process of a verification: runs the base and the patched model and writes down what it measured.

Started by `guard.run_child` as `python -m patcher.verify.child REQUEST ANSWER`, both JSON files.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from patcher.verify.guard import close_network


def main(asked: str, answered: str) -> None:
    """Measure what the request asks for. An error of the model's code is part of the answer, not a crash."""
    close_network()
    request = json.loads(Path(asked).read_text("utf-8"))
    Path(answered).write_text(json.dumps(measure(request)), "utf-8")


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Load both models, run the texts through them and return the fields of `checks.Measured`.

    The request: `patched` and `base` (folders), `weights` (safetensors files of the source), `texts`, `scale`,
    `temperature`, `device`, `batch_size`, `max_tokens`, `sparse_encoder`.
    """
    import torch

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
        "environment": environment(device),
    }
    try:
        with torch.inference_mode():
            _measure(request, answer, device)
    except Exception as error:  # whatever remote code raises is a finding about the model
        answer["failure"] = f"{type(error).__name__}: {error}".splitlines()[0]
    return answer


def choose_device(wanted: str) -> str:
    """`auto` is cuda where there is one, then mps, then cpu."""
    import torch

    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _measure(request: dict[str, Any], answer: dict[str, Any], device: str) -> None:
    import torch

    from patcher.verify.figures import Figures, real_positions
    from patcher.verify.models import changed_tensors, load_as_users_do, share_weights, wrong_buffers

    patched, info = load_as_users_do(request["patched"])
    answer["buffers"], answer["buffers_wrong"] = wrong_buffers(patched, request["base"])
    base = share_weights(request["base"], patched, request["weights"])
    answer["tensors"] = len(patched.state_dict())
    answer["tensors_changed"] = sorted({*info["missing_keys"], *info["unexpected_keys"]})

    patched.to(device)
    base.to(device)
    scale, temperature = request["scale"], request["temperature"]
    before, after = Figures(), Figures()
    error, changed = 0.0, 0
    for encoded in _batches(request):
        inputs = {name: tensor.to(device) for name, tensor in encoded.items()}
        mask = inputs["attention_mask"]
        capped, raw = base(**inputs).logits, patched(**inputs).logits
        before.add(capped, mask)
        after.add(raw, mask)
        for one, other, real in zip(capped, raw, real_positions(mask), strict=True):  # a text at a time, to save memory
            # Row 0 is synthetic and untouched by the cap, so it has to be the same; padding says nothing.
            law = scale * torch.sigmoid(other[real] / temperature) - one[real]
            first = one[0] - other[0]
            error = max([error, *(float(part.abs().max()) for part in (law, first) if part.numel())])
            changed += _changed(one[real], other[real])
    # Both models hold the same tensors: a forward pass that writes into them shows only now.
    wrong = changed_tensors(patched, request["weights"])
    answer["tensors_changed"] = sorted({*answer["tensors_changed"], *wrong})
    answer["cap_error"] = error
    answer["predictions_changed"] = changed
    answer["not_finite"] = before.not_finite + after.not_finite
    answer["positions"] = after.positions
    answer["before"], answer["after"] = before.as_json(), after.as_json()
    if request["sparse_encoder"]:
        from patcher.verify.sparse_encoder import compare

        del patched, base
        answer["sparse_encoder"] = compare(request, after.active, device)


def _changed(capped: Any, raw: Any) -> int:
    """Positions whose best token under the cap is not the best without it; equal capped values are a tie, no change."""
    chosen = capped.gather(-1, raw.argmax(-1, keepdim=True)).squeeze(-1)
    return int((chosen != capped.amax(-1)).sum())


def _batches(request: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(request["patched"], trust_remote_code=True, padding_side="right")
    texts, size = request["texts"], request["batch_size"]
    for start in range(0, len(texts), size):
        yield tokenizer(
            texts[start : start + size],
            padding=True,
            truncation=True,
            max_length=request["max_tokens"],
            return_token_type_ids=False,
            return_tensors="pt",
        )


def environment(device: str) -> dict[str, str]:
    """The versions and the device that the figures come from."""
    import platform

    import torch
    import transformers

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        # The family casts its encoder to bf16 where CUDA is; everything else runs in fp32.
        "dtype": "bfloat16 encoder, float32 head" if torch.cuda.is_available() else "float32",
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
