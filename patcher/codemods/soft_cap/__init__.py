"""Removes the soft cap `scale * sigmoid(x / temperature)` from the way of a language-model head's logits.

Every capped logit is positive, so the ReLU in SPLADE's log(1 + ReLU(x)) never gives a zero (Formal et al. 2021,
https://arxiv.org/abs/2109.10086). The cap is found by its meaning: data flow is followed from what `forward` returns as
logits back to the vocabulary projection, and a bounded monotone map with numbers that can be read off is the cap,
however it is written. A signed cap, `c * tanh(x / c)`, keeps the zeros of ReLU and is left alone.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.dataflow.flow import Enter, Flow, Op
from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.package import Class, Package
from patcher.codemods.outcomes import Applied, LeftAlone, NotNeeded, Outcome, Refused, SoftCap
from patcher.codemods.rewrite import rewrite
from patcher.codemods.soft_cap.callers import other_callers
from patcher.codemods.soft_cap.caps import Cap, Doubt, find, used_elsewhere
from patcher.codemods.soft_cap.config_shift import with_shift
from patcher.codemods.soft_cap.removal import describe, marked, remove

CONFIG = "config.json"
# A file without any of these can't hold a cap: nothing of it has to be followed.
_HINT = re.compile(rb"sigmoid|expit|tanh", re.IGNORECASE)
_CALLS = re.compile(r"\b(\w*[Ss]igmoid_?|expit)\s*\(")
_LISTED = 5


@dataclass(frozen=True)
class Target:
    """A class whose logits are meant: its name, and the file that defines it."""

    name: str
    path: str


@dataclass(frozen=True, eq=False)
class _Found:
    cap: Cap
    record: SoftCap
    flow: Flow


def soft_cap(
    package: Package,
    targets: Sequence[Target],
    others: Sequence[Target] = (),
    shift: float = 0.0,
) -> Mapping[str, Outcome] | Refused:
    """Take the cap off each target; the first of them is the masked-LM class. `others` must not change with them.

    With a `shift`, the logits that are left are lowered by it, in the code and as a key of config.json.

    The answer has an outcome for each file to change, config.json among them with a shift, and for the file of each
    target of which nothing is to change.
    """
    outcomes: dict[str, Outcome] = {}
    written: list[_Found] = []
    for target in targets:
        found = _only_cap(package, target, shift)
        if isinstance(found, Refused):
            return found
        if not isinstance(found, _Found):
            outcomes.setdefault(target.path, found)
            continue
        problem = _spreads(package, target, found.cap, others)
        if problem is not None:
            return problem
        written.append(found)
    others_too = other_callers(package, [one.cap for one in written], [one.flow for one in written])
    calls = [_quoted(frame.code, frame.body.statement(call)) for frame, call in others_too]
    if calls:
        name = written[0].record.class_name
        why = f"{name}: the function that holds `{written[0].record.expression}` is also called elsewhere"
        return Refused("used-elsewhere", f"{why}: {'; '.join(dict.fromkeys(calls[:_LISTED]))}")
    if written and shift:
        content = with_shift(package.config_json, shift)
        outcomes[CONFIG] = Applied(content, (), written[0].record)
    for path, removal in remove((one.cap for one in written), shift).items():
        record = next((one.record for one in written if one.record.file == path), written[0].record)
        outcomes[path] = Applied(rewrite(removal.code, removal.replacements), tuple(removal.spans), record)
    return outcomes


def flow_of(package: Package, target: Target) -> Flow | None:
    """The ways of a class's logits; None where it has no forward of its own or inherited in the package."""
    code = package.codes[target.path]
    cls = Class(code, code.classes()[target.name])
    forward = package.method(cls, "forward")
    return Flow(Frame(package, forward.code, forward.node, forward.owner, cls)) if forward is not None else None


def _only_cap(package: Package, target: Target, shift: float) -> _Found | NotNeeded | LeftAlone | Refused:
    """The one cap of a class, or why there is nothing to take out or nothing that may be."""
    name = target.name
    if not any(_HINT.search(code.content) for code in package.codes.values()):
        return Refused("no-cap", f"{name} has no soft cap")
    flow = flow_of(package, target)
    if flow is None:
        return Refused("no-forward", f"{name} has no forward method in these files, so its logits can't be followed")
    caps, doubts = find(flow)
    if len(caps) > 1:
        listed = _listing([cap.bounded for cap in caps])
        return Refused("several-caps", f"{name} has {len(caps)} soft caps where exactly one was expected: {listed}")
    if caps and flow.unfinished:
        why = f"{name}: its logits come in too many ways to follow all of them: {_listing([caps[0].bounded])}"
        return Refused("not-understood", why)
    if caps:
        cap = caps[0]
        record = describe(cap, name, shift)
        elsewhere = [_quoted(frame.code, frame.body.statement(use)) for frame, use in used_elsewhere(cap, flow)]
        if cap.law.kind == "tanh":
            return LeftAlone(
                f"line {record.line}: `{record.expression}` is a signed cap, which keeps the sign of each "
                "logit and with it the zeros of ReLU",
                record,
            )
        if elsewhere:
            why = f"{name}: what is half capped in `{record.expression}` (line {record.line}) is also read elsewhere"
            return Refused("used-elsewhere", f"{why}: {'; '.join(elsewhere[:_LISTED])}")
        return _Found(cap, record, flow)
    off = next((doubt for doubt in doubts if doubt.name == "switched-off"), None)
    if off is not None:
        return NotNeeded(f"{name} has no cap any more: {off.why}")
    done = marked(flow.frames, name)
    if done is not None:
        return NotNeeded(f"{name} is already patched: `{done.expression}` was removed before", done)
    if doubts:
        return Refused(doubts[0].name, _doubtful(name, doubts))
    return Refused("no-cap", f"{name} has no soft cap{_elsewhere(package.codes[target.path])}")


def _spreads(package: Package, target: Target, cap: Cap, others: Iterable[Target]) -> Refused | None:
    """Whether another class of the model would lose the cap as well."""
    removed = {id(op.node) for op in cap.removed}
    for other in others if _is_named_elsewhere(package, cap) else ():
        flow = flow_of(package, other)
        for step in (step for way in flow.ways for step in way) if flow is not None else ():
            if (isinstance(step, Op) and id(step.node) in removed) or (
                isinstance(step, Enter) and id(step.call) in removed
            ):
                return Refused(
                    "shared", f"{target.name} shares its soft cap with {other.name}: {_listing([cap.removed[0]])}"
                )
    return None


def _is_named_elsewhere(package: Package, cap: Cap) -> bool:
    """Whether any code but their own names the classes from which steps go; if none does, nothing else gets there."""
    owners = {op.frame.owner.name for op in cap.removed if op.frame.owner is not None}
    if any(op.frame.owner is None for op in cap.removed):
        return True
    pieces = [piece for code in package.codes.values() for piece in code.pieces]
    return any(piece.words & owners - {name for _, name in piece.definitions} for piece in pieces)


def _doubtful(name: str, doubts: Sequence[Doubt]) -> str:
    parts = [f"{_listing([doubt.op])} {doubt.why}" for doubt in doubts[:_LISTED]]
    return f"{name}: {'; '.join(parts)}"


def _listing(ops: Sequence[Op]) -> str:
    lines = {(op.frame.code.line(op.node), _quoted(op.frame.code, _around(op))): None for op in ops}
    return "; ".join(text for _, text in list(lines)[:_LISTED])


def _around(op: Op) -> cst.CSTNode:
    """The small statement a step stands in, which is what a reader recognises."""
    statement = op.frame.body.statement(op.node)
    return statement if isinstance(statement, cst.BaseSmallStatement) else op.node


def _quoted(code: Code, node: cst.CSTNode) -> str:
    shown = node if isinstance(node, (cst.BaseSmallStatement, cst.BaseExpression, cst.Arg)) else None
    return f"line {code.line(node)}: {code.source(shown) if shown is not None else '...'}"


def _elsewhere(code: Code) -> str:
    """The lines of a file that call a sigmoid, for a reader who wonders why none of them is the cap."""
    lines = enumerate(io.StringIO(code.text, newline=None), 1)
    found = [f"line {number}: {line.strip()}" for number, line in lines if _CALLS.search(line.partition("#")[0])]
    more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return f" on the way of its logits; elsewhere in the file: {'; '.join(found[:_LISTED])}{more}" if found else ""


__all__ = ["CONFIG", "Target", "flow_of", "soft_cap"]
