"""The one reader of the YAML metadata at the top of a model card, in bounded time and memory."""

from __future__ import annotations

import re
from typing import Any

import yaml

_FRONT_MATTER = re.compile(r"\s*---[ \t]*\r?\n(.*?)(?<=\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_MAX_BLOCK = 65_536  # characters
_MAX_DEPTH = 20


def split_card(card: str) -> tuple[str, str]:
    """The YAML between the two `---` lines at the top of a card, "" where there is none, and what follows it."""
    found = _FRONT_MATTER.match(card)
    return (found[1], card[found.end() :]) if found else ("", card)


def has_metadata(card: str) -> bool:
    """Whether a card begins as one with metadata does, readable or not."""
    return bool(card.lstrip().startswith("---") and card.strip("-\r\n\t "))


def read_metadata(card: str) -> dict[str, Any]:
    """The metadata of a card; empty where there is none, where it can't be read or where it exceeds the limits.

    The limits are on its length and depth. Aliases are refused: ten lines of them can expand to gigabytes ("billion
    laughs").
    """
    text = "\n".join(line for line in split_card(card)[0].splitlines() if line.strip())
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
