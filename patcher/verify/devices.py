"""The words of the command line for where and how a model runs. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from patcher.errors import UsageError

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("float32", "bfloat16", "float16")


def parse_devices(words: str) -> tuple[str, ...]:
    """`cpu`, `cpu,cuda` and so on, the first being the one whose figures lead the report.

    Raises UsageError for an unknown word, one that stands twice, and `auto` beside another.
    """
    devices = tuple(word.strip() for word in words.lower().split(","))
    for device in devices:
        if device not in DEVICES:
            raise UsageError(
                f"{device!r} is no device.", f"Give one of {', '.join(DEVICES)}, or several with commas: cpu,cuda."
            )
    if len(set(devices)) < len(devices):
        raise UsageError(f"--device {words} names a device twice.", "Name each device once: cpu,cuda.")
    if len(devices) > 1 and "auto" in devices:
        raise UsageError("`auto` stands for one device and can't be compared with others.", "Name them: cpu,cuda.")
    return devices


def parse_dtype(word: str) -> str:
    """Raises UsageError for a dtype that is not one of `DTYPES`."""
    if word not in DTYPES:
        raise UsageError(f"{word!r} is no dtype for a model.", f"Give one of {', '.join(DTYPES)}.")
    return word


def refuse_wish(answer: Mapping[str, Any], device: str, attention: str | None) -> None:
    """Raise UsageError for what a child says about a wish that can't be met here."""
    if "missing_device" in answer:
        raise missing_device(device, answer["missing_device"])
    if "no_choice" in answer:
        raise UsageError(answer["no_choice"], f"Leave out --attn {attention}: the code's own attention runs then.")


def missing_device(device: str, available: list[str]) -> UsageError:
    """The error for a device that this machine does not have."""
    return UsageError(
        f"There is no {device} device that torch can use here; it finds {', '.join(available)}.",
        "Leave out --device, or install a torch that was built for it.",
    )
