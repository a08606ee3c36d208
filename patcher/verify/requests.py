"""Writes what a child of a verification reads, and fills the part of its request that all kinds share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from patcher.verify.settings import MAX_TOKENS, Verification
from patcher.verify.texts import ProbeText


def common_fields(settings: Verification, scratch: Path, device: str, reference: Path | None) -> dict[str, Any]:
    """Write the texts into `scratch`, which is created if missing, and return the fields of `messages.Request`.

    `reference` is the file that the child of the first device wrote; without it, and with several devices, this one
    writes such a file.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    texts = scratch / "texts.jsonl"
    return {
        "device": device,
        "dtype": settings.dtype,
        "attention": settings.attention,
        "texts": str(texts),
        "count": write_texts(settings.texts, texts),
        "batch_size": settings.batch_size,
        "max_tokens": MAX_TOKENS,
        "progress": str(scratch / "progress"),
        "digest": str(scratch / "digest") if len(settings.devices) > 1 and reference is None else None,
        "reference": str(reference) if reference is not None else None,
    }


def write_texts(texts: Iterable[ProbeText], path: Path) -> int:
    """One JSON object per line with id, language and text; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for one in texts:
            file.write(json.dumps({"id": one.id, "language": one.language, "text": one.text}) + "\n")
            count += 1
    return count
