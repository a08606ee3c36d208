"""In the child: which device there is, what runs on it in which precision, and when its memory is spent."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from patcher.sandbox.hook import confine

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h
_FULL = ("not enough memory", "out of memory", "can't allocate memory")


def available_devices() -> list[str]:
    """The kinds of device that torch can use in this process, the fastest first."""
    found = ["cuda"] if torch.cuda.is_available() else []
    found += ["mps"] if torch.backends.mps.is_available() else []
    return [*found, "cpu"]


def choose_device(wanted: str) -> str:
    """`auto` is cuda where there is one, then mps, then cpu."""
    return available_devices()[0] if wanted == "auto" else wanted


def confine_on(device: str, scratch: Path, given: Iterable[str]) -> None:
    """`hook.confine` for a model that runs on a device.

    The driver of a GPU opens what it needs before that. What flash-attn brings in Triton, its rotary embedding, which
    this family's code applies wherever the package is installed, is compiled when it first runs.
    """
    cuda = device in {"auto", "cuda"} and torch.cuda.is_available()
    if cuda:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    confine(scratch, given, compilers=cuda and importlib.util.find_spec("flash_attn") is not None)


def keep_freed(logits: int) -> None:
    """Let glibc keep what was freed of tensors that are small beside a batch's `logits`, which are so many bytes.

    Memory that is mapped anew for each tensor is cleared by the kernel each time: of a base model's verification, some
    hundredths of the time. To be called before `hook.confine`; other C libraries go on as they do.
    """
    small = min(logits // 8, 1 << 25)  # the largest that glibc takes
    if sys.platform != "linux" or small <= 8_000_000:  # what guard.environment sets is as much
        return
    with contextlib.suppress(AttributeError):  # musl has no such call
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, small)
        libc.mallopt(_TRIM_THRESHOLD, 2 * small)


def environment(device: str) -> dict[str, Any]:
    """The versions and the device that figures come from. `dtype` is put in once a batch has shown it."""
    import transformers

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "dtype": "float32",
        "flash_attn": "installed" if importlib.util.find_spec("flash_attn") else "not installed",
    }


@dataclass
class Precision:
    """What a forward pass computed in: seen, not assumed, for remote code casts as it likes.

    `coarsest` is the floating dtype with the largest eps that an operation gave back, `head` the one in which the
    logits were made. `roundings` counts the operations that compute floating numbers, views left out: each rounds its
    result once, so no error can go a longer way.
    """

    coarsest: torch.dtype = torch.float32
    head: torch.dtype = torch.float32
    roundings: int = 0

    def as_json(self) -> dict[str, Any]:
        coarsest, head = (str(dtype).removeprefix("torch.") for dtype in (self.coarsest, self.head))
        return {"coarsest_dtype": coarsest, "head_dtype": head, "roundings": self.roundings}

    def __str__(self) -> str:
        names = [self.as_json()[key] for key in ("coarsest_dtype", "head_dtype")]
        return names[0] if self.coarsest == self.head else f"{names[0]} encoder, {names[1]} head"

    def watch(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The logits [batch, tokens, vocabulary] of a model, every operation of whose forward pass is looked at."""
        with Watch(self):
            logits: torch.Tensor = model(**inputs).logits
        self.look_at_head(logits[0])
        return logits

    def look_at(self, result: Any) -> None:
        """Take in the result of one operation."""
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            self.roundings += 1
            self.coarsest = max(self.coarsest, result.dtype, key=lambda dtype: torch.finfo(dtype).eps)

    def look_at_head(self, logits: torch.Tensor) -> None:
        """Take the dtype of the logits; where all of them fit into a coarser one, they were made in that and cast."""
        self.head = logits.dtype
        for dtype in (torch.bfloat16, torch.float16):
            if torch.finfo(dtype).eps > torch.finfo(self.head).eps and torch.equal(
                logits.to(dtype).to(self.head), logits
            ):
                self.head = dtype
        self.coarsest = max(self.coarsest, self.head, key=lambda dtype: torch.finfo(dtype).eps)


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Shows every operation of a forward pass to a `Precision`."""

    def __init__(self, precision: Precision) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._precision = precision

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self._precision.look_at(result)
        return result


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left; MPS and the CPU allocator say so in words only."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _FULL)


def free_memory(device: str) -> None:
    """Give back what a failed batch left behind."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()
