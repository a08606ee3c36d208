"""Loads the patched model as its users do, and the capped base model on the very same weights in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForMaskedLM
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from patcher.verify.conversion import read_pickle


def load_as_users_do(folder: str) -> tuple[nn.Module, dict[str, Any]]:
    """The model of a folder through `from_pretrained`, in fp32 on the CPU, and what the loader says of its keys.

    Memory that nobody initialises is filled with NaN meanwhile: by chance it could hold the very tables that belong
    there, left by a model of the same kind, and a broken loader would pass.
    """
    with marked_memory():
        model, info = AutoModelForMaskedLM.from_pretrained(
            folder, trust_remote_code=True, dtype=torch.float32, output_loading_info=True
        )
    return model.eval(), info


def fresh_buffers(folder: str) -> dict[str, torch.Tensor]:
    """Every non-persistent buffer as the constructor computes it, from a model that is built and thrown away.

    Parameters are not initialised, so their memory is never touched and costs nothing.
    """
    with _no_initialisation():
        model = _model_class(folder)(_config(folder))
    return {name: buffer.clone() for name, buffer in model.named_buffers() if name in non_persistent(model)}


def non_persistent(model: nn.Module) -> set[str]:
    """Names of the buffers that no checkpoint holds."""
    return {name for name, _ in model.named_buffers()} - set(model.state_dict())


def wrong_buffers(model: nn.Module, folder: str) -> tuple[int, list[str]]:
    """How many non-persistent buffers a loaded model has, and which of them differ from freshly computed ones.

    `folder` holds the code and the configuration to build the fresh model from.
    """
    fresh, loaded = fresh_buffers(folder), dict(model.named_buffers())
    names = sorted(set(fresh) | non_persistent(model))
    wrong = [
        name for name in names if name not in fresh or name not in loaded or not torch.equal(fresh[name], loaded[name])
    ]
    return len(names), wrong


def share_weights(folder: str, patched: nn.Module, files: Sequence[str]) -> nn.Module:
    """Build the model of `folder` on the very tensors of `patched`.

    Only where one differs from the source's checkpoint files does the base get the file's, so that a weight that was
    altered on the way shows in the logits too.
    """
    with torch.device("meta"):
        base: nn.Module = _model_class(folder)(_config(folder))
    shared: dict[str, torch.Tensor] = dict(patched.state_dict(keep_vars=True))
    for name, tensor in _tensors(files):
        if name in shared and not _equal(shared[name], tensor):
            shared[name] = nn.Parameter(tensor.to(torch.float32).clone(), requires_grad=False)
    base.load_state_dict(shared, strict=False, assign=True)
    buffers = dict(patched.named_buffers())
    for name in non_persistent(base):
        owner, _, leaf = name.rpartition(".")
        base.get_submodule(owner)._buffers[leaf] = buffers[name]
    return base.eval()


def changed_tensors(model: nn.Module, files: Sequence[str]) -> list[str]:
    """Names of the tensors that differ between a model in memory and checkpoint files, or that only one of them has."""
    state = model.state_dict()
    seen, wrong = set(), []
    for name, tensor in _tensors(files):
        seen.add(name)
        if name not in state or not _equal(state[name], tensor):
            wrong.append(name)
    return sorted({*wrong, *(set(state) - seen)})


def _equal(loaded: torch.Tensor, stored: torch.Tensor) -> bool:
    return torch.equal(loaded.detach().cpu(), stored.to(loaded.dtype))


def _tensors(files: Sequence[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """Each tensor of the files, one at a time: a file is opened anew for each, so that its pages are let go between."""
    for path in files:
        if not path.endswith(".safetensors"):  # pickled in the source, converted in the folder
            yield from read_pickle(path).items()
            continue
        with safe_open(path, framework="pt") as tensors:
            names = list(tensors.keys())
        for name in names:
            with safe_open(path, framework="pt") as tensors:
                yield name, tensors.get_tensor(name)


def _config(folder: str) -> Any:
    return AutoConfig.from_pretrained(folder, trust_remote_code=True)


def _model_class(folder: str) -> Any:
    reference = _config(folder).auto_map["AutoModelForMaskedLM"]
    return get_class_from_dynamic_module(reference, folder)


@contextmanager
def marked_memory() -> Iterator[None]:
    """Let torch.empty give NaN instead of whatever was in memory."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@contextmanager
def _no_initialisation() -> Iterator[None]:
    """Leave parameters as they come from the allocator."""
    from transformers import initialization

    with initialization.no_init_weights():
        yield


__all__ = [
    "changed_tensors",
    "fresh_buffers",
    "load_as_users_do",
    "marked_memory",
    "non_persistent",
    "share_weights",
    "wrong_buffers",
]
