"""In the child: reads pickled weights without running any code, writes them as safetensors and compares."""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from patcher.patching.messages import ConvertedFile
from patcher.sandbox.child import Service
from patcher.sandbox.hook import confine_process


def convert(origin: str, target: str) -> ConvertedFile:
    """Write the tensors of `origin` to `target`, read them back and compare."""
    try:
        tensors = read_pickle(origin)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, TypeError, AttributeError) as error:
        return ConvertedFile(0, (), (), _reason(error))
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
    tied = tuple(tuple(names) for names in same.values() if len(names) > 1)
    return ConvertedFile(len(tensors), tuple(_differing(tensors, target)), tied, None)


def read_pickle(path: str) -> dict[str, torch.Tensor]:
    """The named tensors of a torch checkpoint, memory-mapped if its format allows that.

    Raises pickle.UnpicklingError if reading it needs anything but tensors, and ValueError if it is not a mapping from
    names to dense tensors.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap can only be used" not in str(error):
            raise
        found = torch.load(path, map_location="cpu", weights_only=True)  # the format of torch before 1.6
    if not isinstance(found, Mapping) or not found:
        raise ValueError(f"it holds a {type(found).__name__} and not tensors by name")
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ValueError(f"its entry {str(name)[:60]!r} is not a tensor but a {type(tensor).__name__}")
        if tensor.layout is not torch.strided or tensor.is_quantized:
            raise ValueError(f"its tensor {name!r} is sparse or quantized")
    return {name: tensor.detach() for name, tensor in found.items()}


def _differing(tensors: Mapping[str, torch.Tensor], target: str) -> list[str]:
    with safe_open(target, framework="pt") as file:
        names = set(file.keys())
        wrong = {name for name in tensors if name not in names or not _same(tensors[name], file.get_tensor(name))}
    return sorted(wrong | (names - set(tensors)))


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are equal in type, shape and every byte; a NaN equals itself."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.contiguous().reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))


def _reason(error: Exception) -> str:
    """Why a file can't be read, in one line; torch's own message may suggest loading it without weights_only."""
    text = " ".join(str(error).split())
    if "GLOBAL " in text and isinstance(error, pickle.UnpicklingError):
        what = text.partition("GLOBAL ")[2].split(" was not")[0].split(" ")[0]
        return f"reading it would run code ({what[:80]})"
    if isinstance(error, ValueError):
        return text[:200]
    return f"it is not a torch checkpoint that weights_only=True can read ({text[:120] or type(error).__name__})"


SERVICE = Service(
    dict[str, str],  # from the safetensors file to write to the pickle to read
    lambda _, scratch: confine_process(scratch, (), file_size=None),
    lambda pickles: [convert(origin, target) for target, origin in pickles.items()],
)
