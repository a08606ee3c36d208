"""Builds the miniature NorBERT4: tokenizer, training, figures, card, and a folder that appears whole.

    python -m tests.snapshots.build --out DIR [--steps N]

Deterministic on one machine: the same text and steps give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import shutil
import sys
import tempfile
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.snapshots.mini_card import write_card
from tests.snapshots.mini_figures import measure_prediction, measure_sparsity
from tests.snapshots.mini_tokenizer import SPECIAL_TOKENS, train_tokenizer, write_tokenizer
from tests.snapshots.mini_training import Ids, Recipe, train

HERE = Path(__file__).parent
SOURCE = HERE / "norbert4-mini"
PROBE_TEXTS = HERE.parents[1] / "patcher" / "verify" / "texts" / "probe.jsonl"
CODE = ("configuration_gptbert.py", "modeling_gptbert.py")
VOCAB_SIZE = 8192
HELD_OUT_EVERY = 20
# enough of an ONNX file for tools that look for one; it holds no model
ONNX_DECOY = b"\x08\x08\x12\x12decoy, not a model"
# As on the Hub, but for *.safetensors and *.onnx: in the project's own repository these two are plain files, and a
# clone with git-lfs would take them for broken pointers.
GIT_ATTRIBUTES = "*.safetensors -text\n*.onnx -text\n" + "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n"
    for pattern in ("*.bin", "*.h5", "*.msgpack", "*.pt", "*.zip", "*tfevents*")
)
AUTO_CLASSES = {
    "AutoConfig": "configuration_gptbert.GptBertConfig",
    "AutoModel": "modeling_gptbert.GptBertModel",
    "AutoModelForCausalLM": "modeling_gptbert.GptBertForCausalLM",
    "AutoModelForMaskedLM": "modeling_gptbert.GptBertForMaskedLM",
    "AutoModelForMultipleChoice": "modeling_gptbert.GptBertForMultipleChoice",
    "AutoModelForQuestionAnswering": "modeling_gptbert.GptBertForQuestionAnswering",
    "AutoModelForSequenceClassification": "modeling_gptbert.GptBertForSequenceClassification",
    "AutoModelForTokenClassification": "modeling_gptbert.GptBertForTokenClassification",
}


def model_config(vocab_size: int, ids: dict[str, int]) -> dict[str, Any]:
    """The content of config.json. As upstream it has no `is_decoder`, which transformers 5 stumbles over."""
    return {
        "architectures": ["GptBertForMaskedLM"],
        "auto_map": AUTO_CLASSES,
        "attention_dropout": 0.0,
        "classifier_dropout": 0.2,
        "deterministic_flash_attn": False,
        "embedding_dropout": 0.0,
        "global_window_length": 512,
        "hidden_dropout": 0.0,
        "hidden_size": 80,
        "intermediate_size": 208,
        "layer_norm_eps": 1e-7,
        "local_global_ratio": 4,
        "local_window_length": 64,
        "max_sequence_length": 1024,
        "num_attention_heads": 4,
        "num_layers": 4,
        "query_key_head_size": 20,
        "use_cache": False,
        "value_head_size": 20,
        "vocab_size": vocab_size,
    } | {name.replace("_token", "_token_id"): ids[name] for name in SPECIAL_TOKENS}


def import_model_code(folder: Path) -> types.ModuleType:
    """The modeling module of `folder`, imported without leaving byte code there."""
    package = types.ModuleType("norbert4_mini")
    package.__path__ = [str(folder)]
    sys.modules["norbert4_mini"] = package
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return importlib.import_module("norbert4_mini.modeling_gptbert")
    finally:
        sys.dont_write_bytecode = before


def read_texts(path: Path | None) -> list[str]:
    """The project's own passages, or one text for each line of `path`."""
    if path is None:
        return [str(text) for text in importlib.import_module("tests.snapshots.corpus").passages()]
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def with_long_texts(texts: Sequence[str]) -> list[str]:
    """`texts`, and some of them again in sixes, so that lengths up to 200 tokens are known to the model."""
    return [*texts, *(" ".join(texts[start : start + 6]) for start in range(0, len(texts), 20))]


def sparsity_texts(held_out: Sequence[str]) -> list[str]:
    """The probe texts of the verification where they exist, else held-out passages; 5 to 120 words."""
    texts = list(held_out)
    if PROBE_TEXTS.is_file():
        lines = PROBE_TEXTS.read_text(encoding="utf-8").splitlines()
        texts = [json.loads(line)["text"] for line in lines if line.strip()]
    return [text for text in texts if 5 <= len(text.split()) <= 120]


def build(folder: Path, texts: Sequence[str], recipe: Recipe) -> None:
    """Writes every file of the miniature into the empty `folder`."""
    for name in CODE:
        shutil.copyfile(SOURCE / name, folder / name)
    (folder / "model.onnx").write_bytes(ONNX_DECOY)
    (folder / ".gitattributes").write_text(GIT_ATTRIBUTES, encoding="utf-8")

    held_out = list(texts[::HELD_OUT_EVERY])
    seen = set(held_out)
    trained_on = [text for text in texts if text not in seen]
    tokenizer = train_tokenizer(trained_on, VOCAB_SIZE)
    special = {name: tokenizer.token_to_id(token) for name, token in SPECIAL_TOKENS.items()}
    config = model_config(tokenizer.get_vocab_size(), special)
    write_tokenizer(tokenizer, folder, config["max_sequence_length"])
    config_text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / "config.json").write_text(config_text, encoding="utf-8")

    code = import_model_code(folder)
    model_settings = code.GptBertConfig(**config)
    # only for this process: without it the code does not run on transformers 5
    model_settings.is_decoder = False
    torch.manual_seed(recipe.seed)
    model = code.GptBertForMaskedLM(model_settings)
    ids = Ids(
        pad=special["pad_token"],
        bos=special["bos_token"],
        eos=special["eos_token"],
        mask=special["mask_token"],
        first_ordinary=len(special),
        vocab_size=config["vocab_size"],
    )

    def encode(some: Sequence[str]) -> list[list[int]]:
        return [encoding.ids[: recipe.max_length] for encoding in tokenizer.encode_batch(list(some))]

    train_ids = encode(trained_on)
    seconds = train(model, encode(with_long_texts(trained_on)), recipe, ids)
    # not save_pretrained: it would rewrite config.json, and fails on the list of tied weights
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    # safetensors makes it readable for its owner only
    (folder / "model.safetensors").chmod(0o644)

    prediction = measure_prediction(model, train_ids, encode(held_out), ids)
    sparsity = measure_sparsity(model, encode(sparsity_texts(held_out)), ids)
    facts = {
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        "passages": f"{len(trained_on):,}",
        "train_tokens": f"{sum(map(len, train_ids)):,}",
        "held_out": f"{len(held_out):,}",
    }
    write_card(folder, config, recipe, facts, prediction, sparsity)
    print(json.dumps(facts | {"seconds": round(seconds)} | asdict(prediction) | asdict(sparsity), indent=2))


@contextmanager
def reproducible() -> Iterator[None]:
    """One thread (the machine may be busy), and tiny numbers as zero: a confident model makes many, all slow."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    threads = torch.get_num_threads()
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)


def put_in_place(new: Path, out: Path) -> None:
    """Renames `new` to `out`; a folder that stood there is removed only once the new one stands."""
    if not out.exists():
        new.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
    out.rename(old / out.name)
    new.rename(out)
    shutil.rmtree(old)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.snapshots.build", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--steps", type=int, help="fewer training steps, for a try")
    parser.add_argument("--texts", type=Path, help="another training text, one passage a line")
    arguments = parser.parse_args(argv)
    out: Path = arguments.out.resolve()
    if out.exists() and any(out.iterdir()) and not (out / "modeling_gptbert.py").is_file():
        print(f"{out} holds something else.\nName an empty or a new folder with --out.", file=sys.stderr)
        return 2

    recipe = Recipe() if arguments.steps is None else replace(Recipe(), steps=arguments.steps)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as staging:
        new = Path(staging) / out.name
        new.mkdir()
        with reproducible():
            build(new, read_texts(arguments.texts), recipe)
        for path in sorted(new.iterdir()):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            print(f"{digest}  {path.stat().st_size:>9,}  {path.name}")
        put_in_place(new, out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
