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


def load_as_users_do(folder: str) -> tuple[nn.Module, dict[str, Any]]:
    """The model of a folder through `from_pretrained`, in fp32 on the CPU, and what the loader says of its keys."""
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


def share_weights(folder: str, patched: nn.Module, files: Sequence[str]) -> tuple[nn.Module, list[str]]:
    """Build the model of `folder` on the tensors of `patched`, and name the tensors that are not those of `files`.

    Each tensor of the checkpoint files is compared with the one in memory. Where they are equal both models hold the
    one in memory; where not, the base gets the file's, so that a weight altered on the way shows in the logits too.
    """
    with torch.device("meta"):
        base = _model_class(folder)(_config(folder))
    shared = dict(patched.state_dict(keep_vars=True))
    wrong = [name for name in base.state_dict() if name not in shared]
    seen: set[str] = set()
    for name, tensor in _tensors(files):
        seen.add(name)
        if name not in shared or not torch.equal(shared[name].detach(), tensor.to(shared[name].dtype)):
            wrong.append(name)
            if name in shared:
                shared[name] = nn.Parameter(tensor.to(torch.float32).clone(), requires_grad=False)
    wrong += [name for name in shared if name not in seen]
    base.load_state_dict(shared, strict=False, assign=True)
    buffers = dict(patched.named_buffers())
    for name in non_persistent(base):
        owner, _, leaf = name.rpartition(".")
        base.get_submodule(owner)._buffers[leaf] = buffers[name]
    return base.eval(), sorted(set(wrong))


def _tensors(files: Sequence[str]) -> Iterator[tuple[str, torch.Tensor]]:
    for path in files:
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - this is no dict
                yield name, tensors.get_tensor(name)


def _config(folder: str) -> Any:
    return AutoConfig.from_pretrained(folder, trust_remote_code=True)


def _model_class(folder: str) -> Any:
    reference = _config(folder).auto_map["AutoModelForMaskedLM"]
    return get_class_from_dynamic_module(reference, folder)


@contextmanager
def _no_initialisation() -> Iterator[None]:
    """Leave parameters as they come from the allocator."""
    from transformers import initialization

    with initialization.no_init_weights():
        yield


__all__ = ["fresh_buffers", "load_as_users_do", "non_persistent", "share_weights"]
