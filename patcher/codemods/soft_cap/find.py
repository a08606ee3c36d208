"""Says what cap the logits of a class have."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import libcst as cst

from patcher.codemods.chunks import lines
from patcher.codemods.code import MARK, Code
from patcher.codemods.dataflow.flow import Flow
from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.package import Class, Package
from patcher.codemods.dataflow.replaced import replaced_code
from patcher.codemods.dataflow.steps import Obstacle, Step
from patcher.codemods.nodes import walk
from patcher.codemods.outcomes import LeftAlone, NotNeeded, Refused
from patcher.codemods.soft_cap.lookalikes import HINT, lookalikes
from patcher.codemods.soft_cap.recognition import Cap, UnrecognizedCap, recognize
from patcher.codemods.work import TooComplex
from patcher.soft_cap import SoftCap

_MARKED = re.compile(
    rf"# {MARK} (removed|lowered) `(.+)` "
    r"\((sigmoid|tanh), scale ([^ ,]+), temperature ([^ ,)]+)(?:, shift ([^ ,)]+))?\); "
)
_CALLS = re.compile(r"\b(\w*[Ss]igmoid_?|expit)\s*\(")
_LISTED = 5


@dataclass(frozen=True)
class Target:
    """A class of the model, and the file that defines it."""

    name: str
    path: str


@dataclass(frozen=True, eq=False)
class FoundCap:
    """The cap of a class: what to tell the user of it, and the steps in the code that `remove_cap` needs."""

    target: Target
    soft_cap: SoftCap
    cap: Cap
    flow: Flow


def find_cap(package: Package, target: Target) -> FoundCap | NotNeeded | LeftAlone | Refused:
    """The one sigmoid cap on the logits of a class.

    NotNeeded where an earlier run removed or lowered it or config.json switches it off, LeftAlone for a signed cap,
    Refused where there is no cap, more than one, or one that is not understood.
    """
    try:
        return _find(package, target)
    except (TooComplex, RecursionError) as error:
        return too_complex(package, target.name, error)


def too_complex(package: Package, name: str, error: Exception) -> Refused:
    """The refusal of code that takes more work than the limit, with the function where the last of it was."""
    function = getattr(error, "function", None)
    for code in package.codes.values():
        with suppress(KeyError):
            where = f", most recently in {quote(code, function)}" if function is not None else ""
            return Refused("too-complex", f"{name}: following its logits takes too much work{where}")
    return Refused("too-complex", f"{name}: following its logits takes too much work")


def _find(package: Package, target: Target) -> FoundCap | NotNeeded | LeftAlone | Refused:
    name = target.name
    if not any(HINT.search(code.content) for code in package.codes.values()):
        return Refused("no-cap", f"{name} has no soft cap")
    flow = flow_of(package, target)
    if flow is None:
        return Refused("no-forward", f"{name} has no forward method in these files, so its logits can't be followed")
    caps, unrecognized = recognize(flow)
    if len(caps) > 1:
        listed = quote_steps([cap.bounded for cap in caps])
        return Refused("several-caps", f"{name} has {len(caps)} soft caps where exactly one was expected: {listed}")
    if not caps:
        return _without_cap(package, target, flow, unrecognized)
    (cap,) = caps
    if flow.unfinished:
        why = f"{name}: its logits have too many paths to follow all of them: {quote_steps([cap.bounded])}"
        return Refused("not-understood", why)
    soft_cap = _describe(cap, name)
    if soft_cap.kind == "tanh":
        why = "is a signed cap, which keeps the sign of each logit and with it the zeros of ReLU"
        return LeftAlone(f"line {soft_cap.line}: `{soft_cap.expression}` {why}", soft_cap)
    return FoundCap(target, soft_cap, cap, flow)


def flow_of(package: Package, target: Target) -> Flow | None:
    """The paths of a class's logits; None where the package defines no forward for it."""
    cls = package.top_level(package.codes[target.path], target.name)
    if not isinstance(cls, Class) or (forward := package.method(cls, "forward")) is None:
        return None
    return Flow(Frame(package, forward.code, forward.node, forward.owner, cls))


def _without_cap(
    package: Package, target: Target, flow: Flow, unrecognized: Sequence[UnrecognizedCap]
) -> NotNeeded | Refused:
    name = target.name
    if off := next((one for one in unrecognized if one.name == "switched-off"), None):
        return NotNeeded(f"{name} no longer has a cap: {off.reason}")
    if removed := _marked(flow.frames, name):
        return NotNeeded(f"{name} is already patched: `{removed.expression}` {removed.done}", removed)
    if unrecognized:
        reasons = [f"{quote_steps([one.step])} {one.reason}" for one in unrecognized[:_LISTED]]
        return Refused(unrecognized[0].name, f"{name}: {'; '.join(reasons)}")
    if flow.unfinished:
        return Refused("not-understood", f"{name}: its logits have too many paths to follow all of them")
    if similar := [quote(code, node) for code, node in lookalikes(flow)]:
        where = (
            f"can't be followed beyond {quote_statements(flow.unknown[:1])}" if flow.unknown else "have no known cap"
        )
        listed = "; ".join(dict.fromkeys(similar[:_LISTED]))
        return Refused("not-understood", f"{name}: its logits {where}; these lines look like one: {listed}")
    if others := quote_obstacles(replaced_code(flow)):
        return Refused("not-understood", f"{name}: its logits have no known cap; {others}")
    end = f"; its logits can't be followed beyond {quote_statements(flow.unknown[:1])}" if flow.unknown else ""
    return Refused("no-cap", f"{name} has no soft cap{quote_sigmoids(package.codes[target.path])}{end}")


def _describe(cap: Cap, class_name: str) -> SoftCap:
    """What to tell of a cap: the line of the outermost step, and all its statements in the order in which they run."""
    first, formula = cap.removed[0], cap.formula
    code = first.frame.code
    where = class_name, first.frame.function.name.value, code.path, code.line(first.node)
    texts = (step.frame.code.source(_statement(step)).rstrip("; ") for step in reversed(cap.removed))
    return SoftCap(*where, "; ".join(dict.fromkeys(texts)), formula.scale, formula.temperature, formula.kind)


def _marked(frames: Iterable[Frame], class_name: str) -> SoftCap | None:
    """The cap that an earlier run removed from one of these functions, read from the comment that it left."""
    for frame in frames:
        for node in walk(frame.function):
            if isinstance(node, cst.Comment) and (found := _MARKED.match(node.value)):
                what, expression, kind, *numbers = found.groups()
                where = class_name, frame.function.name.value, frame.code.path, frame.code.line(node)
                scale, temperature, shift = (float(one or 0) for one in numbers)
                return SoftCap(*where, expression, scale, temperature, kind, shift, what == "lowered")
    return None


# What a refusal quotes, as a reader finds it in the file


def quote(code: Code, node: cst.CSTNode | ast.AST) -> str:
    """`line 22: x = 30 * torch.sigmoid(x / 7.5)`; of a statement with a block, its first line."""
    if isinstance(node, (cst.BaseSmallStatement, cst.BaseExpression, cst.Arg)):
        return f"line {code.line(node)}: {code.source(node)}"
    line = code.line(node) if isinstance(node, cst.CSTNode) else getattr(node, "lineno", 1)
    return f"line {line}: {lines(code.text)[line - 1].strip()}"


def quote_statements(nodes: Iterable[tuple[Frame, cst.CSTNode]]) -> str:
    """The statements around the first of these nodes."""
    quoted = [quote(frame.code, frame.body.statement(node)) for frame, node in nodes]
    return "; ".join(dict.fromkeys(quoted[:_LISTED]))


def quote_steps(steps: Sequence[Step]) -> str:
    """The statements that steps are in, each once."""
    texts = {(step.frame.code.line(step.node), quote(step.frame.code, _statement(step))): None for step in steps}
    return "; ".join(text for _, text in list(texts)[:_LISTED])


def quote_obstacles(found: Iterable[Obstacle]) -> str:
    """The statements of the first obstacles, each with the reason."""
    texts = (f"{quote(one.code, one.node)} {one.reason}" for one in found)
    return "; ".join(list(dict.fromkeys(texts))[:_LISTED])


def quote_sigmoids(code: Code) -> str:
    """The lines of a file that call a sigmoid, for a reader who wonders why none of them is the cap."""
    numbered = enumerate(io.StringIO(code.text, newline=None), 1)
    found = [f"line {number}: {line.strip()}" for number, line in numbered if _CALLS.search(line.partition("#")[0])]
    more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return f" on the path of its logits; elsewhere in the file: {'; '.join(found[:_LISTED])}{more}" if found else ""


def _statement(step: Step) -> cst.CSTNode:
    """The small statement around a step, which is what a reader recognises."""
    statement = step.frame.body.statement(step.node)
    return statement if isinstance(statement, cst.BaseSmallStatement) else step.node
