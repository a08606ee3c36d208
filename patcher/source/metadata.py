"""Reads the YAML at the top of somebody else's card, in bounded time and memory."""

from __future__ import annotations

from typing import Any

import yaml

_MAX_BLOCK = 65_536  # characters
_MAX_DEPTH = 20


def read_metadata(card: str) -> dict[str, Any]:
    """The metadata of a card; empty where it has none that can be read, or one that was made to exhaust its reader.

    Aliases are not accepted: ten lines of them stand for gigabytes ("billion laughs").
    """
    lines = iter(card[: _MAX_BLOCK * 2].lstrip().splitlines())
    if next(lines, "").rstrip() != "---":
        return {}
    block: list[str] = []
    for line in lines:
        if line.rstrip() == "---":
            break
        block.append(line)
    else:
        return {}
    text = "\n".join(line for line in block if line.strip())
    try:
        if len(text) > _MAX_BLOCK or not _is_plain(text):
            return {}
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _is_plain(text: str) -> bool:
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            return False
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            return False
    return True
