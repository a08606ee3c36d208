"""What every child that runs a model does: check the device, enter the sandbox, and keep errors as findings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError

from patcher.verify.measure.hardware import available_devices, environment, is_out_of_memory
from patcher.verify.measure.models import UnsupportedAttention
from patcher.verify.messages import Measured, Unavailable

M = TypeVar("M", bound=Measured)


def measured(
    device: str, kind: type[M], steps: Callable[[M, str], Iterator[M]], folders: Mapping[str, str], **empty: Any
) -> M:
    """What `steps` measure on a device, or until an error of the model's code, which becomes the `failure`.

    `steps` gets an answer in which nothing is measured yet, whose own fields are `empty`, and the kind of device. It
    yields that answer repeatedly, with more in it each time. `folders` maps paths that differ between runs to their
    names in a failure.
    """
    devices = available_devices()
    chosen = devices[0] if device == "auto" else device
    counts: dict[str, Any] = {"tensors": 0, "buffers": 0, "not_finite": 0, "tensors_changed": (), "buffers_wrong": ()}
    found = kind(environment=environment(chosen if chosen in devices else "cpu"), **counts, **empty)
    if chosen not in devices:
        return replace(found, unavailable=Unavailable(devices=tuple(devices)))
    try:
        with torch.no_grad():  # tensors made in inference mode could not be trained with
            for answer in steps(found, chosen):
                found = answer
    except UnsupportedAttention as error:
        return replace(found, unavailable=Unavailable(attention=str(error)))
    except Exception as error:  # whatever else remote code raises is a finding about the model
        message = _with_stable_names(f"{type(error).__name__}: {error}".splitlines()[0], folders)
        if is_out_of_memory(error):
            return replace(found, unavailable=Unavailable(memory=message))
        if isinstance(error, (ImportError, OSError, SafetensorError)):
            return replace(found, unavailable=Unavailable(reason=message))
        return replace(found, failure=message)
    return found


def _with_stable_names(message: str, folders: Mapping[str, str]) -> str:
    """A message without the names of temporary folders. transformers names modules after them, with `_hyphen_`."""
    for folder in sorted(folders, key=len, reverse=True):
        message = message.replace(f"{folder}{os.sep}", "")
    for folder, name in folders.items():
        if name:
            random = Path(folder).name
            message = message.replace(random.replace("-", "_hyphen_"), name).replace(random, name)
    return message
