"""What every child that runs a model does: check the device, enter the sandbox, and keep errors as findings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from patcher.verify.measure.hardware import available_devices, choose_device
from patcher.verify.measure.models import UnsupportedAttention
from patcher.verify.messages import Measured, Unavailable

M = TypeVar("M", bound=Measured)


def measured(
    device: str, start: Callable[[str], M], steps: Callable[[M, str], Iterator[M]], folders: Mapping[str, str]
) -> M:
    """What `steps` measure on a device, or until an error of the model's code, which becomes the `failure`.

    `start` makes the answer in which nothing is measured yet, for a kind of device; `steps` gets that and yields it
    repeatedly, with more in it each time. `folders` maps paths that differ between runs to their names in a failure.
    """
    devices = available_devices()
    if device not in {"auto", *devices}:
        return replace(start("cpu"), unavailable=Unavailable(devices=tuple(devices)))
    device = choose_device(device)
    found = start(device)
    try:
        with torch.inference_mode():
            for answer in steps(found, device):
                found = answer
    except UnsupportedAttention as error:
        return replace(found, unavailable=Unavailable(attention=str(error)))
    except Exception as error:  # whatever remote code raises is a finding about the model
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        return replace(found, failure=_with_stable_names(message, folders))
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
