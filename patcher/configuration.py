"""What a configuration says that several packages ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from patcher.constants import CONTEXT_KEYS


def context_length(config: Any) -> int | None:
    """The number of tokens that a configuration allows, or None where it says nothing."""
    found = (config.get(key) for key in CONTEXT_KEYS) if isinstance(config, Mapping) else ()
    return next((one for one in found if isinstance(one, int) and not isinstance(one, bool) and one > 0), None)
