"""Quotes lines of the model's code in refusals, as a reader finds them in the file."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.steps import Step

_CALLS = re.compile(r"\b(\w*[Ss]igmoid_?|expit)\s*\(")
_LISTED = 5


def quote(code: Code, node: cst.CSTNode) -> str:
    """`line 22: x = 30 * torch.sigmoid(x / 7.5)`."""
    shown = node if isinstance(node, (cst.BaseSmallStatement, cst.BaseExpression, cst.Arg)) else None
    return f"line {code.line(node)}: {code.source(shown) if shown is not None else '...'}"


def quote_statements(nodes: Iterable[tuple[Frame, cst.CSTNode]]) -> str:
    """The statements around the first of these nodes."""
    quoted = [quote(frame.code, frame.body.statement(node)) for frame, node in nodes]
    return "; ".join(dict.fromkeys(quoted[:_LISTED]))


def quote_steps(steps: Sequence[Step]) -> str:
    """The statements that steps are in, each once."""
    lines = {(step.frame.code.line(step.node), quote(step.frame.code, _statement(step))): None for step in steps}
    return "; ".join(text for _, text in list(lines)[:_LISTED])


def quote_sigmoids(code: Code) -> str:
    """The lines of a file that call a sigmoid, for a reader who wonders why none of them is the cap."""
    lines = enumerate(io.StringIO(code.text, newline=None), 1)
    found = [f"line {number}: {line.strip()}" for number, line in lines if _CALLS.search(line.partition("#")[0])]
    more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return f" on the path of its logits; elsewhere in the file: {'; '.join(found[:_LISTED])}{more}" if found else ""


def _statement(step: Step) -> cst.CSTNode:
    """The small statement around a step, which is what a reader recognises."""
    statement = step.frame.body.statement(step.node)
    return statement if isinstance(statement, cst.BaseSmallStatement) else step.node
