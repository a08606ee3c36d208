"""Sets `use_reentrant=False` in gradient checkpointing, only when asked for.

With the reentrant form DistributedDataParallel stops with "marked as ready twice"; PyTorch recommends the other one
(https://pytorch.org/docs/stable/checkpoint.html).
"""

from __future__ import annotations

import libcst as cst
import libcst.matchers as m

from patcher.codemods.base import Applied, Code, NotNeeded, Outcome, Replacement, rewrite

_REENTRANT = m.Call(
    func=m.Name("checkpoint") | m.Attribute(attr=m.Name("checkpoint")),
    args=[m.ZeroOrMore(), m.Arg(keyword=m.Name("use_reentrant"), value=m.Name("True")), m.ZeroOrMore()],
)


def checkpointing(code: Code) -> Outcome:
    """Replace each `use_reentrant=True` of a checkpoint call."""
    replacements: dict[cst.CSTNode, Replacement] = {}
    spans = []
    for call in code.nodes(cst.Call):
        if not m.matches(call, _REENTRANT):
            continue
        for argument in call.args:
            if argument.keyword is not None and argument.keyword.value == "use_reentrant":
                replacements[argument.value] = lambda _: cst.Name("False")
                spans.append(code.span(argument))
    if not spans:
        return NotNeeded("no checkpoint call of this file is reentrant")
    return Applied(rewrite(code, replacements), tuple(spans))
