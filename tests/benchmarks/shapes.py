"""Models to measure: the bundled miniature, and its code at other sizes with random weights on the disk."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open

from patcher.patching.record import load
from patcher.verify.requests import base_code
from tests.benchmarks.processes import ROOT, python, run

MINI = ROOT / "tests" / "snapshots" / "norbert4-mini"
HEAD = 64
BLOCK = 1 << 24  # random numbers made at once


@dataclass(frozen=True)
class Shape:
    """The sizes of a NorBERT4 as its config.json names them; heads are 64 wide, windows and context the family's."""

    name: str
    hidden: int
    intermediate: int
    layers: int
    vocabulary: int = 51_200
    context: int = 16_384

    @property
    def heads(self) -> int:
        return self.hidden // HEAD

    @property
    def config(self) -> dict[str, int]:
        return {
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_layers": self.layers,
            "num_attention_heads": self.heads,
            "query_key_head_size": HEAD,
            "value_head_size": HEAD,
            "vocab_size": self.vocabulary,
            "max_sequence_length": self.context,
            "local_window_length": 256,
            "global_window_length": 8192,
        }


# The published sizes count the input and the output matrix as one: 149 M of the base.
BASE = Shape("base", hidden=640, intermediate=1664, layers=24)
# The shape of the published model is not known here; this one has its 987 M parameters, counted in the same way.
XLARGE = Shape("xlarge", hidden=1792, intermediate=4520, layers=24)
# The head of the base on two layers, so that the share of the cap shows.
HEAD_OF_BASE = Shape("head", hidden=640, intermediate=1664, layers=2)
# For a hundred thousand texts: as little work as possible for each, so that what piles up shows.
SMALLEST = Shape("smallest", hidden=64, intermediate=64, layers=1, vocabulary=8192, context=1024)


@dataclass(frozen=True)
class Pair:
    """A patched folder, and a folder of its base model: the code with the loading repairs and with the cap."""

    patched: Path
    base: Path


def patched_miniature(root: Path) -> Pair:
    """The miniature as it is bundled, patched by the command."""
    return _patch(MINI, root, "mini")


def patched(shape: Shape, root: Path) -> Pair:
    """A model of a shape with random weights, patched by the command."""
    return _patch(write_source(shape, root / f"source-{shape.name}"), root, shape.name)


def write_source(shape: Shape, source: Path) -> Path:
    """Write a model of a shape with random weights, as it is published, into a new folder."""
    shutil.copytree(MINI, source, ignore=shutil.ignore_patterns("*.safetensors", "*.onnx", "README.md"))
    config = json.loads((source / "config.json").read_text()) | shape.config
    (source / "config.json").write_text(json.dumps(config, indent=2))
    _write_weights(shape, source / "model.safetensors")
    return source


def parameters(shape: Shape) -> int:
    """Numbers in the file of a shape; the published sizes count one of its two vocabulary matrices."""
    return sum(math.prod(size) for _, size in _tensors(shape))


def _patch(source: Path, root: Path, name: str) -> Pair:
    out = root / f"patched-{name}"
    run(python("-m", "patcher", "patch", source, "--out", out, "--no-verify", "--quiet"), root / "home-of-patch")
    model = load(out)
    base = shutil.copytree(source, root / f"base-{name}", ignore=shutil.ignore_patterns("*.safetensors", "*.onnx"))
    (base / "model.safetensors").symlink_to(out / "model.safetensors")
    for path, code in base_code(model).items():
        (base / path).write_bytes(code)
    return Pair(out, base)


def _write_weights(shape: Shape, path: Path) -> None:
    """Write a safetensors file of the shape, a block at a time: the whole is never in memory.

    Weights are drawn as the model's own initialisation draws them. The output bias is -1.5, where the raw logits have a
    standard deviation of 0.63: about 1 % of them are positive, as in a model that passes the sparsity check.
    """
    tensors = dict(_tensors(shape))
    header, end = {}, 0
    for name, size in tensors.items():
        start, end = end, end + 4 * math.prod(size)
        header[name] = {"dtype": "F32", "shape": size, "data_offsets": [start, end]}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    deviation = math.sqrt(2 / (5 * shape.hidden))
    random = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, size in tensors.items():
            count = math.prod(size)
            for start in range(0, count, BLOCK):
                block = np.zeros(min(BLOCK, count - start), np.float32)
                if "lambdas" in name:
                    block[:-1] = 1.0  # the last of each weighs the embeddings
                elif name.endswith("emb2vocab.bias"):
                    block -= 1.5
                elif len(size) == 2 and not name.endswith(("q_scale", "k_scale")):
                    block = random.standard_normal(len(block), np.float32) * np.float32(deviation)
                file.write(block.tobytes())


def _tensors(shape: Shape) -> Iterator[tuple[str, list[int]]]:
    """Names and sizes of the tensors of a shape, after those of the miniature."""
    old = json.loads((MINI / "config.json").read_text())
    sizes = {
        old["hidden_size"]: shape.hidden,
        old["intermediate_size"]: shape.intermediate,
        old["vocab_size"]: shape.vocabulary,
        old["query_key_head_size"]: HEAD,
        old["num_attention_heads"]: shape.heads,
    }
    with safe_open(MINI / "model.safetensors", framework="np") as file:
        for name in file.keys():  # noqa: SIM118 - not a mapping
            kept = file.get_slice(name).get_shape()
            scaled = kept if "lambdas" in name else [sizes.get(size, size) for size in kept]
            found = re.search(r"(?<=layers\.)\d+(?=\.)", name)
            if found is None:
                yield name, scaled
            elif found[0] == "0":
                for layer in range(shape.layers):
                    yield f"{name[: found.start()]}{layer}{name[found.end() :]}", scaled
