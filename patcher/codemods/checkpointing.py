"""Sets `use_reentrant=False` in gradient checkpointing; an option.

With the reentrant variant, DistributedDataParallel fails with "marked as ready twice"; PyTorch recommends the other one
(https://pytorch.org/docs/stable/checkpoint.html).
"""

from __future__ import annotations

import re

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.nodes import is_name, last_name
from patcher.codemods.outcomes import Outcome
from patcher.codemods.rewrite import Replacement, replaced

_REENTRANT = re.compile(r"\buse_reentrant\b")


def checkpointing(code: Code) -> Outcome:
    """Replace each `use_reentrant=True` of a checkpoint call."""
    calls = (call for call in code.nodes(cst.Call, _REENTRANT) if last_name(call.func) == "checkpoint")
    values = (
        argument.value
        for call in calls
        for argument in call.args
        if is_name(argument.keyword, "use_reentrant") and is_name(argument.value, "True")
    )
    replacements: dict[cst.CSTNode, Replacement] = {value: lambda _: cst.Name("False") for value in values}
    return replaced(code, replacements, "no checkpoint call of this file is reentrant")
