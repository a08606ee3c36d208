"""Compares models as transformers loads them with the same classes built directly. Imports nothing of the project.

Usage: python loading.py CASES.json, an object from names to `[original code, repaired code, dtype]`. Prints an object
from the names of those that differ to the differences. Runs on transformers 4.57 as well.
"""

import copy
import io
import json
import pickle
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

IDS = torch.tensor([[1, 2, 3, 4]])


def module(name: str, code: str) -> types.ModuleType:
    """A module of its own, so that no cache of one version of the code serves the other."""
    made = types.ModuleType(name)
    made.__dict__["__file__"] = "tiny.py"
    sys.modules[name] = made
    exec(compile(code, "tiny.py", "exec"), made.__dict__)
    return made


def tensors(value: object, path: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor that an object reaches through attributes, lists and dictionaries, by its path."""
    seen = set() if seen is None else seen
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from tensors(item, f"{path}.{key}", seen)
    elif isinstance(value, list | tuple | set):
        for index, item in enumerate(value):
            yield from tensors(item, f"{path}.{index}", seen)
    elif hasattr(value, "__dict__") and not isinstance(value, type) and id(value) not in seen:
        seen.add(id(value))
        yield from tensors(vars(value), path, seen)


def differences(expected: nn.Module, found: nn.Module) -> list[str]:
    """The paths of tensors that differ in value, dtype or place, `output` where what the models compute differs."""
    right, loaded = dict(tensors(expected)), dict(tensors(found))
    wrong = sorted(right.keys() ^ loaded.keys())
    for name in right.keys() & loaded.keys():
        one, other = right[name], loaded[name]
        if one.dtype != other.dtype or one.device != other.device or not torch.equal(one, other):
            wrong.append(name)
    with torch.no_grad():
        if not wrong and not torch.equal(expected(IDS), found(IDS)):
            wrong.append("output")
    return wrong


def written(model: nn.Module, folder: Path) -> Path:
    """A checkpoint of a model whose parameters and saved buffers all differ from their initial values."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    model.config.to_json_file(folder / "config.json", use_diff=False)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def check(name: str, original: str, repaired: str, dtype: torch.dtype) -> list[str]:
    """What differs between the loaded model of the repaired code and the original code built directly."""
    first, second = module(f"original_{name}", original), module(f"repaired_{name}", repaired)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        fresh = first.TinyModel(first.TinyConfig()).eval()
        built = second.TinyModel(second.TinyConfig()).eval()
    finally:
        torch.set_default_dtype(before)
    with tempfile.TemporaryDirectory() as folder:
        written(fresh, Path(folder))
        loaded = second.TinyModel.from_pretrained(folder, dtype=dtype)
        wrong = differences(fresh, loaded)
        written(built, Path(folder))
        wrong += [f"built: {one}" for one in differences(fresh, built)]
        if not wrong:
            wrong += [
                f"{how}: {one}" for how, other in later(loaded, Path(folder)) for one in differences(fresh, other)
            ]
            wrong += [f"resized: {one}" for one in resized(fresh, loaded)]
        return wrong


def later(loaded: nn.Module, folder: Path) -> Iterator[tuple[str, nn.Module]]:
    """The model copied, pickled, and saved and loaded again."""
    yield "copied", copy.deepcopy(loaded)
    yield "pickled", pickle.load(io.BytesIO(pickle.dumps(loaded)))
    loaded.save_pretrained(folder)
    yield "saved", type(loaded).from_pretrained(folder, dtype=next(loaded.parameters()).dtype)


def resized(fresh: nn.Module, loaded: nn.Module) -> list[str]:
    """What differs when both are moved to another dtype, and one gets a larger vocabulary."""
    loaded.resize_token_embeddings(17, mean_resizing=False)
    loaded.to(torch.float64), fresh.to(torch.float64)
    loaded.resize_token_embeddings(fresh.config.vocab_size)
    return differences(fresh, loaded)


def main(cases: dict[str, list[str]]) -> dict[str, list[str]]:
    """The differences of each case that has any."""
    torch.set_deterministic_debug_mode("warn")  # uninitialised memory is NaN
    found = {}
    for number, (name, (original, repaired, dtype)) in enumerate(cases.items()):
        try:
            found[name] = check(str(number), original, repaired, getattr(torch, dtype))
        except Exception as error:
            found[name] = [f"{type(error).__name__}: {error}"]
    return {name: wrong for name, wrong in found.items() if wrong}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
