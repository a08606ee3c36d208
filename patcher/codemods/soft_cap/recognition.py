"""Recognises a soft cap among the steps on the paths of the logits, and reads its formula."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import libcst as cst

from patcher.codemods.dataflow.flow import Flow
from patcher.codemods.dataflow.steps import (
    CallEntry,
    CallExit,
    Container,
    Link,
    LogitPath,
    Merge,
    Passthrough,
    PathItem,
    Step,
)

_EXACT = 1e-9  # relative: 15 + 15 * tanh(x / 15) has to be recognised in spite of rounding
_REASONS = {
    "no-scale": "is not understood as scale * sigmoid(x / temperature): it has no scale, so it gives probabilities",
    "offset": "is not understood: what is added to it makes it neither positive nor symmetric",
    "decreasing": "is not understood: it decreases where a cap increases",
}


@dataclass(frozen=True)
class Formula:
    """`scale * kind(x / temperature)` with kind sigmoid (positive) or tanh (signed)."""

    kind: str
    scale: float
    temperature: float

    def equals(self, other: Formula) -> bool:
        """Whether two formulas are the same up to rounding."""
        return (
            self.kind == other.kind
            and math.isclose(self.scale, other.scale, rel_tol=_EXACT)
            and math.isclose(self.temperature, other.temperature, rel_tol=_EXACT)
        )


@dataclass(frozen=True, eq=False)
class Cap:
    """A soft cap: its formula, the steps that it consists of from the outermost inwards, and the steps to remove.

    These differ where a helper function is nothing but a cap: then its call is removed, and the function stays.
    """

    formula: Formula
    bounded: Step
    steps: tuple[Step, ...]
    removed: tuple[Step, ...]
    links: tuple[Link, ...]


@dataclass(frozen=True, eq=False)
class UnrecognizedCap:
    """A bounded function on a path that is not understood as a cap: the name of the refusal, why, and where."""

    name: str
    reason: str
    step: Step


def recognize(flow: Flow) -> tuple[list[Cap], list[UnrecognizedCap]]:
    """The caps on the paths of a flow, each once, and the bounded functions that can't be read as one."""
    found: dict[int, list[tuple[LogitPath, int]]] = {}
    for path in flow.paths:
        for index, item in enumerate(path):
            if isinstance(item, Step) and item.is_bounded:
                found.setdefault(id(item.node), []).append((path, index))
    caps: dict[int, Cap] = {}
    unrecognized: dict[int, UnrecognizedCap] = {}
    for node, occurrences in found.items():
        read = _read_all(flow, occurrences)
        if isinstance(read, Cap):
            caps[node] = read
        else:
            unrecognized[node] = read
    for node in list(caps):  # nothing but casts and the like may follow a cap
        for path, index in found[node]:
            around = [unrecognized[id(one.node)] for one in _steps(path[:index]) if id(one.node) in unrecognized]
            if around and around[0].name != "switched-off":
                unrecognized[node] = replace(around[0], step=caps.pop(node).bounded)
                break
    return list(caps.values()), list(unrecognized.values())


def _read_all(flow: Flow, occurrences: Sequence[tuple[LogitPath, int]]) -> Cap | UnrecognizedCap:
    """The cap around a bounded step that is on several paths; inner steps of only some of the paths stay."""
    found = [_read(flow, path, index) for path, index in occurrences]
    if not _agree(found):
        inside = [[id(step.node) for step in _at(path, _inner(path, index))] for path, index in occurrences]
        common = 0
        while all(len(nodes) > common for nodes in inside) and len({nodes[common] for nodes in inside}) == 1:
            common += 1
        found = [_read(flow, path, index, common) for path, index in occurrences]
    caps: list[Cap] = []
    for one in found:
        if isinstance(one, UnrecognizedCap):
            return one
        if caps and not caps[0].formula.equals(one.formula):
            return UnrecognizedCap("several-caps", "has two different scales", one.bounded)
        caps.append(one)
    removed = list(caps[0].removed)
    for cap in caps[1:]:
        seen = {id(step.node) for step in removed}
        removed += [step for step in cap.removed if id(step.node) not in seen]
    return replace(caps[0], removed=tuple(removed), links=tuple(link for cap in caps for link in cap.links))


def _agree(found: Sequence[Cap | UnrecognizedCap]) -> bool:
    formulas = [one.formula for one in found if isinstance(one, Cap)]
    return len(formulas) == len(found) and all(formula.equals(formulas[0]) for formula in formulas)


def _read(flow: Flow, path: LogitPath, index: int, inside: int | None = None) -> Cap | UnrecognizedCap:
    """The cap around one bounded step of a path, with at most `inside` steps inside of it."""
    around = [*_outer(path, index), index, *_inner(path, index)[:inside]]
    steps, outside = _at(path, around), around.index(index)
    outer, bounded, inner = steps[:outside], steps[outside], steps[outside + 1 :]
    if problem := next(_problems(path, index, outer, inner), None):
        return UnrecognizedCap(*problem, bounded)
    formula = _formula(bounded.what, outer, inner)
    if isinstance(formula, str):
        return UnrecognizedCap(formula, _REASONS[formula], bounded)
    links = tuple(item for item in path[around[0] : around[-1] + 1] if isinstance(item, Link))
    return Cap(formula, bounded, steps, _to_remove(flow, path, steps), links)


def _problems(path: LogitPath, index: int, outer: Sequence[Step], inner: Sequence[Step]) -> Iterator[tuple[str, str]]:
    """Why a bounded step with the steps around it is no cap that can be removed: names of refusals, and reasons."""
    (bounded,) = _at(path, [index])
    if bounded.extract is None and isinstance(bounded.node, cst.Arg):
        yield "in-a-container", "is a layer of nn.Sequential; without it the names of the other layers would change"
    if bounded.extract is None:
        yield "not-understood", "is used in a form that can't be removed"
    if any(step.node is bounded.node for step in _steps((*path[:index], *path[index + 1 :]))):
        yield "not-understood", "is applied more than once, the second time to its own result"
    for name, which, steps in (("scale-unknown", "scale", outer), ("temperature-unknown", "temperature", inner)):
        for step in steps:
            if step.number is None and step.what in {"add", "sub", "rsub"}:
                yield "offset", _REASONS["offset"]
            if step.number is None:
                yield name, f"is not understood: its {which} can't be read from the code"
    if _is_misplaced(path, index):
        yield "not-understood", "is scaled or shifted once more after it was merged with other values"
    for number in (step.number for step in (*outer, bounded, *inner)):
        if number is not None and math.isnan(number.value):
            yield "switched-off", f"config.json has no number for {'.'.join(number.key or ())}"


def _is_misplaced(path: LogitPath, index: int) -> bool:
    """Whether a number is applied to the result after a merge with other values, which have no cap."""
    merged = False
    for item in reversed(path[:index]):
        if isinstance(item, Step) and (merged or item.is_bounded):
            return not item.is_bounded
        merged = merged or isinstance(item, Merge)
    return False


def _steps(items: Iterable[PathItem]) -> list[Step]:
    return [item for item in items if isinstance(item, Step)]


def _at(path: LogitPath, indices: Iterable[int]) -> tuple[Step, ...]:
    return tuple(_steps(path[index] for index in indices))


def _outer(path: LogitPath, index: int) -> list[int]:
    """The indices of the steps that scale or shift the bounded value, the outermost first."""
    ends = (isinstance(item, Merge) or (isinstance(item, Step) and item.is_bounded) for item in path[:index])
    start = max((i + 1 for i, is_end in enumerate(ends) if is_end), default=0)
    return [i for i in range(start, index) if isinstance(path[i], Step)]


def _inner(path: LogitPath, index: int) -> list[int]:
    """The indices of the steps that divide the value before it is bounded; what is added there stays in the code."""
    found: list[int] = []
    for i in range(index + 1, len(path)):
        item = path[i]
        if isinstance(item, Merge) or (isinstance(item, Step) and item.what not in {"mul", "div"}):
            break
        if isinstance(item, Step):
            if item.number is None and found:
                break  # a gate or a learned scale, inside of the cap
            found.append(i)
    return found


def _formula(kind: str, outer: Sequence[Step], inner: Sequence[Step]) -> Formula | str:
    """The formula of `a * kind(x / t) + c`, or the name of a refusal."""
    a, c, t, scaled = 1.0, 0.0, 1.0, False
    for step in reversed(outer):
        assert step.number is not None
        n = step.number.value
        if step.what in {"mul", "div"}:
            if n == 0:
                return "decreasing"
            a, c, scaled = (a * n, c * n, True) if step.what == "mul" else (a / n, c / n, True)
        else:
            a, c = (-a, n - c) if step.what == "rsub" else (a, c + n if step.what == "add" else c - n)
    for step in inner:
        assert step.number is not None
        n = step.number.value
        if n == 0:
            return "decreasing"
        t = t / n if step.what == "mul" else t * n
    if t < 0:  # sigmoid(-x) = 1 - sigmoid(x), tanh(-x) = -tanh(x)
        a, c, t = -a, (c + a if kind == "sigmoid" else c), -t
    if not scaled:
        return "no-scale"
    if a < 0:
        return "decreasing"
    half = a if kind == "tanh" else a / 2
    if kind == "tanh":
        c -= a  # a * tanh(x / t) + c = 2a * sigmoid(2x / t) + c - a
        a, t = 2 * a, t / 2
    if math.isclose(c, 0, abs_tol=_EXACT * a):
        return Formula("sigmoid", a, t)
    if math.isclose(c, -half, rel_tol=_EXACT):
        return Formula("tanh", half, 2 * t)
    return "offset"


def _to_remove(flow: Flow, path: LogitPath, steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps to remove: the call of a helper function in place of its steps where it is nothing but a cap."""
    wanted = {id(step) for step in steps}
    removed: list[Step] = []
    covered: set[int] = set()
    for index, item in enumerate(path):
        if isinstance(item, Step) and id(item) in wanted and id(item) not in covered:
            removed.append(item)
        if not isinstance(item, CallEntry) or id(item) in covered:
            continue
        section, end = _section(path, index, item)
        is_used = any(id(step) in wanted for step in _steps(section))
        if end is not None and is_used and _is_only_a_cap(flow, item, end, wanted):
            covered |= {id(one) for one in (*section, end)}
            removed.append(item.as_step(end.name))
    return tuple(step for step in removed if id(step) not in covered)


def _section(path: LogitPath, index: int, entry: CallEntry) -> tuple[LogitPath, CallExit | None]:
    """The items between a call's entry and its exit, and the exit; None where the path ends inside of the function."""
    for end in range(index + 1, len(path)):
        item = path[end]
        if isinstance(item, CallExit) and item.frame is entry.frame:
            return path[index + 1 : end], item
    return (), None


def _is_only_a_cap(flow: Flow, entry: CallEntry, parameter: CallExit, wanted: set[int]) -> bool:
    """Whether each path through a function leads from its result to the same parameter through steps of caps alone."""
    nodes = {id(step.node) for path in flow.paths for step in _steps(path) if id(step) in wanted}
    for path in flow.paths:
        for index, item in enumerate(path):
            if not isinstance(item, CallEntry) or item.call is not entry.call:
                continue
            section, end = _section(path, index, item)
            if end is None or end.name != parameter.name:
                return False
            if any(isinstance(one, (Passthrough, Container, Merge)) for one in section):
                return False
            if any(id(step.node) not in nodes for step in _steps(section)):
                return False
    return True
