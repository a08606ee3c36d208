"""Writes keys into config.json and keeps every other byte."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from json.decoder import JSONDecoder
from typing import Any

_KEY = re.compile(r'[\s,{]*"((?:[^"\\]|\\.)*)"\s*:\s*')


def with_keys(content: bytes, keys: Mapping[str, Any], section: Sequence[str] = ()) -> bytes:
    """config.json with these keys, in place of those that it has or else at its end; every other byte stays.

    `section` are the keys that lead to the object that gets them, the outermost one by default.
    Raises ValueError where the result would not be the same configuration with these keys.
    """
    text, config = content.decode("utf-8"), json.loads(content)
    spans = _values(text)
    if section:
        start, end = spans[section[0]]
        inner = with_keys(text[start:end].encode("utf-8"), keys, section[1:])
        return (text[:start] + inner.decode("utf-8") + text[end:]).encode("utf-8")
    for key in sorted((key for key in keys if key in spans), key=lambda one: -spans[one][0]):
        start, end = spans[key]
        text = text[:start] + json.dumps(keys[key]) + text[end:]
    body = text[: text.rindex("}")].rstrip()
    indent = re.search(r"\{(\s*)", text)
    assert indent is not None
    for key in (key for key in keys if key not in spans):
        comma = "" if body.endswith("{") else ","
        text = text.replace(body, body := f"{body}{comma}{indent[1]}{json.dumps(key)}: {json.dumps(keys[key])}", 1)
    if json.loads(text) != {**config, **keys}:
        raise ValueError(f"{', '.join(keys)} can't be written into config.json")
    return text.encode("utf-8")


def _values(text: str) -> dict[str, tuple[int, int]]:
    """Where the value of each key of the outermost object starts and ends."""
    found, position = dict[str, tuple[int, int]](), text.index("{")
    while key := _KEY.match(text, position):
        _, position = JSONDecoder().raw_decode(text, key.end())
        found[json.loads(f'"{key[1]}"')] = (key.end(), position)
    return found
