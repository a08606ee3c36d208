"""Writes into tokenizer_config.json how many tokens the model can take, where it does not say so.

Without it a tokenizer never truncates, and a text longer than the model's context ends in an error of its tables:
sentence-transformers reads `max_position_embeddings`, but not the other names of the same number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from patcher.codemods.config_json import with_keys
from patcher.codemods.outcomes import Applied, NotNeeded
from patcher.configuration import context_length

KEY = "model_max_length"
_NO_LIMIT = 10**20  # transformers writes 10**30 where a tokenizer has no limit


def max_length(tokenizer_config: bytes, config: Mapping[str, Any]) -> Applied | NotNeeded:
    """tokenizer_config.json with the context of the model's configuration, every other byte as it was."""
    context = context_length(config)
    if context is None:
        return NotNeeded("the configuration does not say how many tokens the model can take")
    try:
        found = json.loads(tokenizer_config)
        limit = found.get(KEY)
        if isinstance(limit, (int, float)) and limit < _NO_LIMIT:
            return NotNeeded(f"the tokenizer truncates at {limit:g} tokens")
        return Applied(with_keys(tokenizer_config, {KEY: context}), ())
    except (ValueError, AttributeError, RecursionError) as error:
        return NotNeeded(f"it can't be read ({error})")
