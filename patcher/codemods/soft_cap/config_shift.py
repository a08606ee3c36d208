"""Writes the shift of a calibrated model into config.json, where a reader of the configuration finds it."""

from __future__ import annotations

import json
import re

SHIFT_KEY = "splade_logit_shift"


def with_shift(content: bytes, shift: float) -> bytes:
    """config.json with the shift as its last key, or in place of an earlier one; every other byte stays.

    Raises ValueError where the result would not be the same configuration with that one key.
    """
    config, value = json.loads(content), json.dumps(shift).encode()
    if SHIFT_KEY in config:
        pattern = re.compile(rb'("' + SHIFT_KEY.encode() + rb'"\s*:\s*)-?[0-9][0-9.eE+-]*')
        changed = pattern.sub(lambda found: found[1] + value, content, count=1)
    else:
        body = content[: content.rindex(b"}")].rstrip()
        indent = re.search(rb"\{(\s*)", content)
        assert indent is not None
        comma = b"," if config else b""
        changed = body + comma + indent[1] + json.dumps(SHIFT_KEY).encode() + b": " + value + content[len(body) :]
    if json.loads(changed) != {**config, SHIFT_KEY: shift}:
        raise ValueError(f"{SHIFT_KEY} can't be written into config.json")
    return changed
