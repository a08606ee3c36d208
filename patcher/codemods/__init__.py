"""Changes to a model's code as LibCST transformations without any I/O, one idea per file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from patcher.codemods.checkpointing import checkpointing
from patcher.codemods.code import Code, Codemod
from patcher.codemods.computed_buffers import computed_buffers
from patcher.codemods.config_defaults import config_defaults
from patcher.codemods.dataflow.package import Class, Package
from patcher.codemods.drop_bos import drop_bos
from patcher.codemods.max_length import max_length
from patcher.codemods.outcomes import Applied, LeftAlone, NotNeeded, Outcome, Refused, Span
from patcher.codemods.removed_methods import removed_methods
from patcher.codemods.soft_cap.find import FoundCap, Target, find_cap
from patcher.codemods.soft_cap.removal import lower_cap, remove_cap
from patcher.codemods.tied_weights import tied_weights

# Those that look at one file at a time. The others look at all files of a model.
CODEMODS: Mapping[str, Codemod] = MappingProxyType({one.__name__: one for one in (computed_buffers, checkpointing)})

__all__ = [
    "CODEMODS",
    "Applied",
    "Class",
    "Code",
    "Codemod",
    "FoundCap",
    "LeftAlone",
    "NotNeeded",
    "Outcome",
    "Package",
    "Refused",
    "Span",
    "Target",
    "computed_buffers",
    "config_defaults",
    "drop_bos",
    "find_cap",
    "lower_cap",
    "max_length",
    "remove_cap",
    "removed_methods",
    "tied_weights",
]
