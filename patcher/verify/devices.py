"""The words of the command line for where and how a model runs, and what this machine lacks. Imports no torch."""

from __future__ import annotations

from importlib.util import find_spec

from patcher.errors import UsageError
from patcher.verify.messages import Measured

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("float32", "bfloat16", "float16")


def parse_devices(words: str) -> tuple[str, ...]:
    """`cpu`, `cpu,cuda` and so on, the first being the one whose figures lead the report.

    Raises UsageError for an unknown word, one that is repeated, and `auto` beside another.
    """
    devices = tuple(word.strip() for word in words.lower().split(","))
    for device in devices:
        if device not in DEVICES:
            raise UsageError(
                f"{device!r} is not a valid device.",
                f"Give one of {', '.join(DEVICES)}, or several with commas: cpu,cuda.",
            )
    if len(set(devices)) < len(devices):
        raise UsageError(f"--device {words} names a device twice.", "Name each device once: cpu,cuda.")
    if len(devices) > 1 and "auto" in devices:
        raise UsageError("`auto` stands for one device and can't be compared with others.", "Name them: cpu,cuda.")
    return devices


def parse_dtype(word: str) -> str:
    """Raises UsageError for a dtype that is not one of `DTYPES`."""
    if word not in DTYPES:
        raise UsageError(f"{word!r} is not a valid dtype.", f"Give one of {', '.join(DTYPES)}.")
    return word


def check_available(answer: Measured, device: str, attention: str | None = None) -> None:
    """Raise UsageError if a child could not run on the device or with the attention that was asked for."""
    if answer.unavailable is None:
        return
    if answer.unavailable.attention is not None:
        raise UsageError(
            answer.unavailable.attention, f"Leave out --attn {attention}: the code's own attention runs then."
        )
    raise UsageError(
        f"There is no {device} device that torch can use here; it finds {', '.join(answer.unavailable.devices)}.",
        "Leave out --device, or install a torch that was built for it.",
    )


def check_sentence_transformers(why: str) -> None:
    """Raise UsageError if sentence-transformers is not installed; `why` says what needs it."""
    if find_spec("sentence_transformers") is None:
        raise UsageError(
            f"{why} sentence-transformers, which is not installed.",
            "pip install 'splade-patcher[sentence-transformers]'",
        )
