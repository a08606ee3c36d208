"""The child process for a model whose cap stays: loads it as its users do and writes down what it measured.

Started by `guard.run_child` as `python -m patcher.verify.measure.capped_child REQUEST ANSWER`, both JSON files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from patcher.sandbox.guard import await_request, run_main
from patcher.verify.measure.child import import_libraries


def main(asked: str, answered: str) -> None:
    """Measure what the request asks for. An error of the model's code is part of the answer, not a crash."""
    import_libraries()
    from patcher.verify.measure.hardware import confine_on

    request = await_request(asked)
    if request["sparse_encoder"]:
        import sentence_transformers  # noqa: F401 - all libraries, before the doors are shut
    encoders = [path for encoder in request["encoders"] for path in (encoder["folder"], *encoder["weights"])]
    given = [path for path in (*encoders, *(request[key] for key in ("texts", "sparse_encoder", "reference"))) if path]
    confine_on(request["device"], Path(asked).parent, given)
    Path(answered).write_text(json.dumps(measure(request)), "utf-8")


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Load each masked LM, run the texts through it, and return what `capped.judge` reads.

    The request: `encoders` (each a `folder` and the files of its `weights` in the source), `sparse_encoder` (a folder
    to load as a whole, or None), `texts` (a file), `device`, `dtype`, `attention`, `batch_size`, `max_batch_tokens`,
    `max_tokens`, and a file for the logits of the first texts, `digest` to be written or `reference` to be compared
    with. An answer with `missing_device` or `no_choice` instead says why that can't be run here.
    """
    import torch

    from patcher.verify.measure.hardware import available_devices, choose_device, environment
    from patcher.verify.measure.models import NoChoice

    if request["device"] not in {"auto", *(found := available_devices())}:
        return {"missing_device": found}
    device = choose_device(request["device"])
    answer: dict[str, Any] = {
        "tensors": 0,
        "tensors_changed": [],
        "buffers": 0,
        "buffers_wrong": [],
        "not_finite": 0,
        "positions": 0,
        "after": {},
        "environment": {**environment(device), "attention": request["attention"]},
        "sparse_encoder": None,
        "failure": None,
    }
    try:
        with torch.inference_mode():
            for encoder in request["encoders"]:
                _measure(encoder, request, answer, device)
            if request["sparse_encoder"] is not None:
                answer["sparse_encoder"] = _as_sparse_encoder(request, device)
    except NoChoice as error:
        return {"no_choice": str(error)}
    except Exception as error:  # whatever remote code raises is a finding about the model
        answer["failure"] = f"{type(error).__name__}: {error}".splitlines()[0]
    return answer


def _measure(encoder: dict[str, Any], request: dict[str, Any], answer: dict[str, Any], device: str) -> None:
    """Add what one masked LM shows; the figures, the precision and the comparison are those of the first."""
    import torch
    from transformers import AutoTokenizer

    from patcher.verify.measure.agreement import Agreement
    from patcher.verify.measure.batches import batches, collate, windows
    from patcher.verify.measure.figures import Figures
    from patcher.verify.measure.hardware import Precision
    from patcher.verify.measure.models import Recipe, changed_tensors, fresh_model, load_as_users_do, wrong_buffers

    folder = encoder["folder"]
    recipe = Recipe(dtype=getattr(torch, request["dtype"]), attention=request["attention"])
    model, info = load_as_users_do(folder, recipe)
    buffers, wrong = wrong_buffers(model, fresh_model(folder, recipe))
    answer["buffers"] += buffers
    answer["buffers_wrong"] += wrong
    answer["tensors"] += len(model.state_dict())
    model.to(device)
    figures, precision = Figures(), Precision()
    first = not answer["after"]
    agreement = Agreement(request["digest"] if first else None, request["reference"] if first else None)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    for window in windows(request["texts"], tokenizer, request["max_tokens"]):
        for batch in batches(window, request["batch_size"], request["max_batch_tokens"]):
            inputs = collate(batch, tokenizer.pad_token_id, device)
            logits = model(**inputs).logits if precision.roundings else precision.watch(model, inputs)
            for text, encoded in zip(logits, batch, strict=True):
                real = text[1 : len(encoded.ids)]  # the first row is synthetic, the last ones are padding
                if figures.add_extremes(real):
                    figures.logits.add(real.float())
                figures.add_vector(text[: len(encoded.ids)].amax(0), len(encoded.ids))
                if len(real):
                    agreement.add(encoded.index, real.amax(0))
    # After the run: a forward pass that writes into its weights shows only now.
    changed = {*info["missing_keys"], *info["unexpected_keys"], *changed_tensors(model, encoder["weights"])}
    answer["tensors_changed"] += sorted(changed)
    answer["not_finite"] += figures.not_finite
    answer["positions"] += figures.positions
    if first:
        answer["after"] = figures.as_json()
        answer["environment"]["dtype"] = str(precision)
        answer |= precision.as_json()
        if request["reference"]:
            answer["disagreement"] = {"largest": agreement.largest, "texts": agreement.texts}


def _as_sparse_encoder(request: dict[str, Any], device: str) -> dict[str, Any]:
    """Load the folder as a user of sentence-transformers would, and look at its embeddings of the texts."""
    import torch
    from sentence_transformers import SparseEncoder, __version__

    from patcher.verify.measure.batches import read_texts
    from patcher.verify.measure.models import marked_memory
    from patcher.verify.measure.sparse_encoder import chosen

    with marked_memory():
        model = SparseEncoder(
            request["sparse_encoder"],
            trust_remote_code=True,
            device="cpu",
            local_files_only=True,
            model_kwargs=chosen(request),
        )
    model.to(device)
    model.max_seq_length = request["max_tokens"]
    embeddings = model.encode_document(
        [record["text"] for record in read_texts(request["texts"])],
        batch_size=request["batch_size"],
        convert_to_sparse_tensor=False,
        show_progress_bar=False,
    )
    return {
        "version": __version__,
        "splade": any(type(module).__name__ == "SpladePooling" for module in model.modules()),
        "not_finite": int((~torch.isfinite(embeddings)).sum()),
    }


if __name__ == "__main__":
    run_main(main)
