"""In the child: the devices of this machine, the precision of what runs on them, and their memory."""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode

from patcher.sandbox.hook import confine_process
from patcher.verify.messages import Environment

_MMAP_MAX, _TRIM_THRESHOLD = -4, -1  # of glibc's malloc.h
# Found on import, for a confined process may not look it up; musl and other C libraries have none.
_MALLOPT = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
_LARGE = 1 << 26  # bytes of logits
_KEPT = 1 << 30  # bytes of freed memory that no tensor uses
_FULL = ("not enough memory", "out of memory", "can't allocate memory")


def available_devices() -> list[str]:
    """The kinds of device that torch can use in this process, the fastest first."""
    found = ["cuda"] if torch.cuda.is_available() else []
    found += ["mps"] if torch.backends.mps.is_available() else []
    return [*found, "cpu"]


def confine_on_device(device: str, scratch: Path) -> None:
    """`hook.confine_process` for a model that runs on a device. The driver of a GPU opens its files before that."""
    if device in {"auto", "cuda"} and torch.cuda.is_available():
        torch.cuda.init()  # type: ignore[no-untyped-call]
    confine_process(scratch)


def tune_malloc(logits: int) -> None:
    """Let glibc keep the memory of freed tensors for the next ones, if a batch's `logits`, given in bytes, are large.

    The kernel clears the memory that is mapped for each large tensor, which takes a twentieth of a verification. To be
    called after the models are loaded: parameters that are never written to would touch a large page each.
    """
    if _MALLOPT is not None and logits >= _LARGE:
        _MALLOPT(_MMAP_MAX, 0)
        _MALLOPT(_TRIM_THRESHOLD, _KEPT)


def environment(device: str) -> Environment:
    """The versions and the device that figures come from. `dtype` is corrected once a batch has run."""
    return Environment(
        python=platform.python_version(),
        torch=str(torch.__version__),
        transformers=transformers.__version__,
        device=torch.cuda.get_device_name() if device == "cuda" else device,
        dtype="float32",
        flash_attn="installed" if importlib.util.find_spec("flash_attn") else "not installed",
    )


class Precision(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What the forward pass in its `with` block computed in: observed, because remote code may cast.

    `coarsest` is the floating dtype with the largest eps of all results, `head` the dtype that computed the logits.
    `roundings` counts the operations that compute floating-point numbers, without views. Each rounds its result once,
    so an error accumulates over at most that many roundings.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.coarsest = self.head = torch.float32
        self.roundings = 0

    def fields(self, environment: Environment) -> dict[str, Any]:
        """The fields of `LogitsMeasured` that depend on the precision, the environment among them."""
        coarsest, head = (str(dtype).removeprefix("torch.") for dtype in (self.coarsest, self.head))
        dtype = coarsest if coarsest == head else f"{coarsest} encoder, {head} head"
        return {
            "coarsest_dtype": coarsest,
            "head_dtype": head,
            "roundings": self.roundings,
            "environment": replace(environment, dtype=dtype),
        }

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and isinstance(result, torch.Tensor) and result.is_floating_point():
            self.roundings += 1
            self.coarsest = max(self.coarsest, result.dtype, key=_eps)
        return result

    def inspect_head(self, logits: torch.Tensor) -> None:
        """Take the dtype that the logits were computed in."""
        self.head = computed_dtype(logits)
        self.coarsest = max(self.coarsest, self.head, key=_eps)


def computed_dtype(logits: torch.Tensor) -> torch.dtype:
    """The dtype of logits, or a coarser one that holds them all: they were computed in that and cast."""
    found = logits.dtype
    for dtype in (torch.bfloat16, torch.float16):
        if _eps(dtype) > _eps(found) and torch.equal(logits.to(dtype).to(logits.dtype), logits):
            found = dtype
    return found


def _eps(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine was out of memory; MPS and the CPU allocator say so only in the message."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _FULL)


def free_memory(device: str) -> None:
    """Release the memory of a failed batch."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()
