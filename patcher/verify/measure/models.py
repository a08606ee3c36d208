"""Loads the patched model as its users do, and the capped base model on the very same weights in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from torch import nn
from transformers import initialization
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from patcher.patching.pickles import read_pickle

_MAPPED = 1 << 26  # bytes of a file that are in memory at once


@dataclass(frozen=True)
class LoadSpec:
    """How a model is loaded: by which Auto class, in which dtype, and with which attention if one was chosen."""

    auto_class: str = "AutoModelForMaskedLM"
    dtype: torch.dtype = torch.float32
    attention: str | None = None


class UnsupportedAttention(ValueError):
    """The model's code or this machine does not support the attention that was asked for."""


def load_as_users_do(folder: str, spec: LoadSpec = LoadSpec()) -> tuple[nn.Module, dict[str, Any]]:
    """The model of a folder through `from_pretrained`, on the CPU, and what the loader reports about its keys.

    Uninitialised memory is filled with NaN meanwhile: it could hold the right tables by chance, left by a model of the
    same kind, and a broken loader would pass.
    Raises UnsupportedAttention for an attention that the model's code or this machine does not support.
    """
    chosen = {"attn_implementation": spec.attention} if spec.attention else {}
    if spec.attention:
        _check_attention(folder, spec)
    try:
        with nan_filled_memory():
            model, info = getattr(transformers, spec.auto_class).from_pretrained(
                folder, trust_remote_code=True, dtype=spec.dtype, output_loading_info=True, **chosen
            )
    except (ValueError, ImportError) as error:
        if spec.attention and spec.attention in str(error):
            raise UnsupportedAttention(str(error).splitlines()[0]) from error
        raise
    return model.eval(), info


def fresh_model(folder: str, spec: LoadSpec = LoadSpec()) -> nn.Module:
    """A model as its constructor leaves it, all buffers computed, on the CPU.

    Parameters are not initialised, so their memory is never touched and costs nothing.
    """
    config = _config(folder)
    if spec.attention:
        config._attn_implementation = spec.attention
    kind = _model_class(folder, config, spec.auto_class)
    default = torch.get_default_dtype()
    torch.set_default_dtype(spec.dtype)
    try:
        with untouched_parameters():
            model: nn.Module = kind(config)
    finally:
        torch.set_default_dtype(default)
    return model.eval()


@contextmanager
def untouched_parameters() -> Iterator[None]:
    """Let no initialiser write to a parameter; what `__init__` and `_init_weights` do to buffers stays."""
    make = nn.Parameter.__new__

    def make_initialized(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:  # noqa: FBT001, FBT002
        parameter = make(cls, data, requires_grad)
        parameter._is_hf_initialized = True
        return parameter

    nn.Parameter.__new__ = staticmethod(make_initialized)  # type: ignore[method-assign]
    try:
        with initialization.guard_torch_init_functions(), initialization.no_tie_weights():
            yield
    finally:
        nn.Parameter.__new__ = staticmethod(make)  # type: ignore[method-assign]


def non_persistent(model: nn.Module) -> set[str]:
    """Names of the buffers that no checkpoint holds."""
    return {name for name, _ in model.named_buffers()} - set(model.state_dict())


def computed(model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors that no checkpoint holds: such buffers, and attributes of modules, also in lists and dictionaries."""
    buffers = dict(model.named_buffers())
    found = {name: buffers[name] for name in non_persistent(model)}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                found.update(_tensors_in(value, f"{path}.{name}".lstrip(".")))
    return found


def _tensors_in(value: Any, path: str) -> Iterator[tuple[str, torch.Tensor]]:
    """A value that is a tensor, or the tensors in one; those that follow from parameters are computed again anyway."""
    if isinstance(value, torch.Tensor):
        if not value.requires_grad:
            yield path, value
    elif isinstance(value, (list, tuple, dict)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _tensors_in(item, f"{path}.{key}")


def wrong_buffers(model: nn.Module, fresh: nn.Module) -> tuple[int, list[str]]:
    """How many tensors a loaded model has that no checkpoint holds, and which differ from freshly computed ones."""
    right, loaded = computed(fresh), computed(model)
    names, both = sorted({*right, *loaded}), right.keys() & loaded.keys()
    return len(names), [name for name in names if name not in both or not _same(right[name], loaded[name])]


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    alike = (one.dtype, one.device, one.shape) == (other.dtype, other.device, other.shape)
    return alike and torch.equal(one, other)


def share_weights(base: nn.Module, patched: nn.Module, files: Sequence[str]) -> nn.Module:
    """Put the tensors of `patched` themselves into `base`, a fresh model, and return it.

    If one differs from the source's checkpoint files, the base gets the file's, so that an altered weight changes the
    logits too.
    """
    shared: dict[str, torch.Tensor] = dict(patched.state_dict(keep_vars=True))
    for name, tensor in _tensors(files):
        if name in shared and not _equal(shared[name], tensor):
            shared[name] = nn.Parameter(tensor.to(shared[name].dtype).clone(), requires_grad=False)
    base.load_state_dict(shared, strict=False, assign=True)
    buffers = dict(patched.named_buffers())
    for name in non_persistent(base) & set(buffers):
        owner, _, leaf = name.rpartition(".")
        base.get_submodule(owner)._buffers[leaf] = buffers[name]
    return base


def changed_tensors(model: nn.Module, files: Sequence[str]) -> list[str]:
    """Names of the tensors that differ between a model in memory and checkpoint files, or that only one of them has.

    A tensor that is tied to one of the file's is the same tensor, whatever its name.
    """
    state = model.state_dict()
    seen, wrong = set(), []
    for name, tensor in _tensors(files):
        seen.add(name)
        if name not in state or not _equal(state[name], tensor):
            wrong.append(name)
    filed = {state[name].data_ptr() for name in seen & set(state)}
    return sorted({*wrong, *(name for name in set(state) - seen if state[name].data_ptr() not in filed)})


def holds(path: str, tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether there is a safetensors file with these tensors and no others, in their dtypes and with their values."""
    if not Path(path).is_file() or _names([path]) != set(tensors):
        return False
    return all(one.dtype == tensors[name].dtype and _equal(tensors[name], one) for name, one in _tensors([path]))


def unmatched_tensors(model: nn.Module, base: nn.Module, files: Sequence[str]) -> tuple[set[str], set[str]]:
    """The tensors that only the checkpoint files have, and those that only the models have: the same for both.

    The first are unused, the second have initial values. What only one of the models lacks is in neither set.
    """
    state, other = model.state_dict(), base.state_dict()
    filed = _names(files)
    memory = {state[name].data_ptr() for name in filed & set(state)}
    initial = {name for name in (set(state) & set(other)) - filed if state[name].data_ptr() not in memory}
    return filed - set(state) - set(other), initial


def _equal(loaded: torch.Tensor, stored: torch.Tensor) -> bool:
    return torch.equal(loaded.detach().cpu(), stored.to(loaded.dtype))


def _tensors(files: Sequence[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """Each tensor of the files, one at a time. A file is reopened now and then, which releases its pages."""
    for path in files:
        if not path.endswith(".safetensors"):  # pickled in the source, converted in the folder
            yield from read_pickle(path).items()
            continue
        waiting: list[str] | None = None
        while waiting is None or waiting:
            with safe_open(path, framework="pt") as tensors:
                waiting = list(tensors.keys()) if waiting is None else waiting
                mapped = 0
                while waiting and mapped < _MAPPED:
                    name = waiting.pop()
                    tensor = tensors.get_tensor(name)
                    mapped += tensor.nbytes
                    yield name, tensor


def _names(files: Sequence[str]) -> set[str]:
    """The names of the tensors in checkpoint files, from the headers of safetensors alone."""
    found: set[str] = set()
    for path in files:
        if path.endswith(".safetensors"):
            with safe_open(path, framework="pt") as tensors:
                found.update(tensors.keys())
        else:
            found.update(read_pickle(path))
    return found


def _config(folder: str) -> Any:
    return transformers.AutoConfig.from_pretrained(folder, trust_remote_code=True)


def _model_class(folder: str, config: Any, auto_class: str) -> Any:
    """The class behind an Auto class: in the folder's own code, else in the library."""
    reference = (getattr(config, "auto_map", None) or {}).get(auto_class)
    if reference is not None:
        return get_class_from_dynamic_module(reference, folder)
    return getattr(transformers, auto_class)._model_mapping[type(config)]


def _check_attention(folder: str, spec: LoadSpec) -> None:
    """Raise UnsupportedAttention for code with a single attention; transformers accepts `eager` for any model."""
    offered = ("_supports_sdpa", "_supports_flash_attn", "_supports_flex_attn", "_supports_attention_backend")
    kind = _model_class(folder, _config(folder), spec.auto_class)
    if not any(getattr(kind, name, False) for name in offered):
        raise UnsupportedAttention(f"The code of {kind.__name__} has a single attention implementation.")


@contextmanager
def nan_filled_memory() -> Iterator[None]:
    """Let torch.empty return NaN instead of whatever was in memory."""
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn")  # unlike use_deterministic_algorithms, without the import of a compiler
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
