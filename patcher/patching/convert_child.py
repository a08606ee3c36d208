"""The child process of a conversion: reads pickled weights without running anything, writes safetensors, compares.

Started by `guard.run_child` as `python -m patcher.patching.convert_child REQUEST ANSWER`, both JSON files.
"""

from __future__ import annotations

import json
import pickle
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patcher.sandbox.guard import await_request, run_main
from patcher.sandbox.hook import confine

if TYPE_CHECKING:
    import torch


def main(asked: str, answered: str) -> None:
    """Convert what the request asks for: `files`, pairs of a pickle and the safetensors file to write."""
    import torch  # noqa: F401 - all libraries, before the doors are shut

    request = await_request(asked)
    confine(Path(asked).parent, [origin for origin, _ in request["files"]], (), file_size=None)
    answer = {"files": [convert(origin, target) for origin, target in request["files"]]}
    Path(answered).write_text(json.dumps(answer), "utf-8")


def convert(origin: str, target: str) -> dict[str, Any]:
    """Write the tensors of `origin` to `target` and read them back.

    Returns the number of `tensors`, the names of those `differing` in type, shape or any byte, groups of names that
    were `tied` to one memory, and why the file was `refused`, or None.
    """
    import torch
    from safetensors.torch import save_file

    answer: dict[str, Any] = {"tensors": 0, "differing": [], "tied": [], "refused": None}
    try:
        tensors = read_pickle(origin)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, TypeError, AttributeError) as error:
        answer["refused"] = _reason(error)
        return answer
    memory: set[int] = set()
    same: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    written: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        # safetensors can hold neither two names for one memory nor a part of a larger one.
        shared = tensor.numel() > 0 and tensor.data_ptr() in memory
        part = tensor.untyped_storage().nbytes() != tensor.nbytes
        written[name] = tensor.clone(memory_format=torch.contiguous_format) if shared or part else tensor.contiguous()
        if tensor.numel():
            memory.add(tensor.data_ptr())
            same[tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()].append(name)
    save_file(written, target, metadata={"format": "pt"})
    del written
    answer["tensors"] = len(tensors)
    answer["tied"] = [names for names in same.values() if len(names) > 1]
    answer["differing"] = _differing(tensors, target)
    return answer


def read_pickle(path: str) -> dict[str, torch.Tensor]:
    """The named tensors of a checkpoint of torch, mapped into memory where its format allows that.

    Raises pickle.UnpicklingError where reading it would need anything but tensors, and ValueError where it holds them
    in another form than one by name.
    """
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap can only be used" not in str(error):
            raise
        found = torch.load(path, map_location="cpu", weights_only=True)  # the format of torch before 1.6
    if not isinstance(found, Mapping) or not found:
        raise ValueError(f"it holds a {type(found).__name__} and no tensors by name")
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ValueError(f"its entry {str(name)[:60]!r} is no tensor but a {type(tensor).__name__}")
        if tensor.layout is not torch.strided or tensor.is_quantized:
            raise ValueError(f"its tensor {name!r} is sparse or quantized")
    return {name: tensor.detach() for name, tensor in found.items()}


def _differing(tensors: Mapping[str, torch.Tensor], target: str) -> list[str]:
    from safetensors import safe_open

    with safe_open(target, framework="pt") as file:
        names = set(file.keys())
        wrong = {name for name in tensors if name not in names or not _same(tensors[name], file.get_tensor(name))}
    return sorted(wrong | (names - set(tensors)))


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are equal in type, shape and every byte; a NaN equals itself."""
    import torch

    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.contiguous().reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))


def _reason(error: Exception) -> str:
    """Why a file can't be read, in one line and in our words where torch's would lead a user astray."""
    text = " ".join(str(error).split())
    if "GLOBAL " in text and isinstance(error, pickle.UnpicklingError):
        what = text.partition("GLOBAL ")[2].split(" was not")[0].split(" ")[0]
        return f"reading it would run code ({what[:80]})"
    if isinstance(error, ValueError):
        return text[:200]
    return f"it is no checkpoint of torch that weights_only=True can read ({text[:120] or type(error).__name__})"


if __name__ == "__main__":
    run_main(main)
