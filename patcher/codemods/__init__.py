"""Changes to a model's code as LibCST transformations without any I/O, one idea per file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from patcher.codemods.checkpointing import checkpointing
from patcher.codemods.code import Code, Codemod
from patcher.codemods.computed_buffers import computed_buffers
from patcher.codemods.dataflow.package import Package
from patcher.codemods.is_decoder import is_decoder
from patcher.codemods.outcomes import Applied, LeftAlone, NotNeeded, Outcome, Refused, SoftCap, Span
from patcher.codemods.soft_cap.find import FoundCap, Target, find_cap
from patcher.codemods.soft_cap.removal import remove_cap
from patcher.codemods.tied_weights import tied_weights

# Those that look at one file at a time. `find_cap` and `remove_cap` follow the logits through all files of a model.
CODEMODS: Mapping[str, Codemod] = MappingProxyType(
    {one.__name__: one for one in (computed_buffers, tied_weights, is_decoder, checkpointing)}
)
REPAIRS = ("computed_buffers", "tied_weights", "is_decoder")

__all__ = [
    "CODEMODS",
    "REPAIRS",
    "Applied",
    "Code",
    "Codemod",
    "FoundCap",
    "LeftAlone",
    "NotNeeded",
    "Outcome",
    "Package",
    "Refused",
    "SoftCap",
    "Span",
    "Target",
    "computed_buffers",
    "find_cap",
    "remove_cap",
]
