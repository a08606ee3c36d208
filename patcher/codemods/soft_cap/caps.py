"""Which steps on the way of the logits are a soft cap, and which law it follows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import libcst as cst

from patcher.codemods.dataflow.flow import BOUNDED, Enter, Flow, Join, Leave, Link, Move, Op, Way, taker
from patcher.codemods.dataflow.frame import Frame
from patcher.codemods.dataflow.reaching import mutated, written_into
from patcher.codemods.nodes import walk

_EXACT = 1e-9  # relative; constants are written with a few digits, and 15 + 15 * tanh has to be met


@dataclass(frozen=True)
class Law:
    """`scale * kind(x / temperature)`, kind being sigmoid (positive) or tanh (signed)."""

    kind: str
    scale: float
    temperature: float


@dataclass(frozen=True, eq=False)
class Cap:
    """A soft cap: its law, the steps that make it from the outermost inwards, and the steps to take out for it.

    They differ where a helper function is nothing but a cap: then its call goes, and the function stays.
    """

    law: Law
    bounded: Op
    steps: tuple[Op, ...]
    removed: tuple[Op, ...]
    links: tuple[Link, ...]


@dataclass(frozen=True, eq=False)
class Doubt:
    """A bounded function on the way that is not understood as a cap: the name of the refusal, why, and where."""

    name: str
    why: str
    op: Op


def find(flow: Flow) -> tuple[list[Cap], list[Doubt]]:
    """The caps on the ways of a flow, each once, and what is bounded and can't be read as one."""
    met: dict[int, list[tuple[Way, int]]] = {}
    doubts: dict[int, Doubt] = {}
    for way in flow.ways:
        for index, step in enumerate(way):
            if isinstance(step, Op) and step.what in BOUNDED.values():
                met.setdefault(id(step.node), []).append((way, index))
    caps: dict[int, Cap] = {}
    for here, places in met.items():
        found = _read_all(flow, places)
        if isinstance(found, Cap):
            caps[here] = found
        else:
            doubts[here] = found
    for here in list(caps):  # what is done to the result of a cap may be no more than a cast
        for way, index in met[here]:
            around = [doubts[id(s.node)] for s in way[:index] if isinstance(s, Op) and id(s.node) in doubts]
            if around and around[0].name != "switched-off":
                doubts[here] = replace(around[0], op=caps.pop(here).bounded)
                break
    return list(caps.values()), list(doubts.values())


def _read_all(flow: Flow, places: Sequence[tuple[Way, int]]) -> Cap | Doubt:
    """The cap around a bounded step that is met on several ways; what one of them alone does inside of it stays."""
    found = [_read(flow, way, index) for way, index in places]
    if not _agree(found):
        inside = [[way[i] for i in _inner(way, index)] for way, index in places]
        common = 0
        while all(len(steps) > common for steps in inside) and len({_node(steps[common]) for steps in inside}) == 1:
            common += 1
        found = [_read(flow, way, index, common) for way, index in places]
    united: Cap | None = None
    for one in found:
        if isinstance(one, Doubt):
            return one
        if united is not None and not _same(united.law, one.law):
            return Doubt("several-caps", "is scaled in two ways", one.bounded)
        united = one if united is None else _united(united, one)
    assert united is not None
    return united


def _node(step: object) -> int:
    assert isinstance(step, Op)
    return id(step.node)


def _agree(found: Sequence[Cap | Doubt]) -> bool:
    laws = [one.law for one in found if isinstance(one, Cap)]
    return len(laws) == len(found) and all(_same(law, laws[0]) for law in laws)


def _same(one: Law, other: Law) -> bool:
    return (
        one.kind == other.kind
        and math.isclose(one.scale, other.scale, rel_tol=_EXACT)
        and math.isclose(one.temperature, other.temperature, rel_tol=_EXACT)
    )


def _united(one: Cap, other: Cap) -> Cap:
    """The same cap met on two ways, with the steps of both."""
    seen = {id(op.node) for op in one.removed}
    removed = (*one.removed, *(op for op in other.removed if id(op.node) not in seen))
    return replace(one, removed=removed, links=(*one.links, *other.links))


def _read(flow: Flow, way: Way, index: int, inside: int | None = None) -> Cap | Doubt:
    """The cap around one bounded step of a way, with no more than so many steps inside of it."""
    bounded = way[index]
    assert isinstance(bounded, Op)
    outer = _outer(way, index)
    inner = _inner(way, index)[:inside]
    steps = (*(way[i] for i in outer), bounded, *(way[i] for i in inner))
    ops = tuple(step for step in steps if isinstance(step, Op))
    if bounded.take is None and isinstance(bounded.node, cst.Arg):
        return Doubt(
            "in-a-container", "is a layer of nn.Sequential; without it the others would change their names", bounded
        )
    if bounded.take is None:
        return Doubt("not-understood", "is used in a form that can't be taken out", bounded)
    if any(isinstance(step, Op) and step.node is bounded.node for step in (*way[:index], *way[index + 1 :])):
        return Doubt("not-understood", "is applied more than once, one time on the result of the other", bounded)
    for name, group in (("scale-unknown", outer), ("temperature-unknown", inner)):
        for i in group:
            op = way[i]
            assert isinstance(op, Op)
            if op.number is None and op.what in {"add", "sub", "rsub"}:
                return Doubt("offset", _WHY["offset"], bounded)
            if op.number is None:
                return Doubt(name, f"is not understood: its {name.partition('-')[0]} can't be read off", bounded)
    if _scaled_again(way, index):
        return Doubt("not-understood", "is scaled or moved once more after it was joined with something else", bounded)
    off = next((op.number.key for op in ops if op.number is not None and math.isnan(op.number.value)), None)
    if off is not None:
        return Doubt("switched-off", f"config.json has no number for {'.'.join(off)}", bounded)
    law = _law(bounded.what, [way[i] for i in outer], [way[i] for i in inner])
    if isinstance(law, str):
        return Doubt(law, _WHY[law], bounded)
    first, last = (outer or [index])[0], (inner or [index])[-1]
    links = tuple(step for step in way[first : last + 1] if isinstance(step, Link))
    return Cap(law, bounded, ops, _removed(flow, way, ops), links)


_WHY = {
    "no-scale": "is not understood as scale * sigmoid(x / temperature): it has no scale, so it gives probabilities",
    "offset": "is not understood: what is added to it makes it neither positive nor symmetric",
    "decreasing": "is not understood: it falls where a cap rises",
}


def _outer(way: Way, index: int) -> list[int]:
    """Where the numbers stand that the bounded value is multiplied with or moved by, the outermost first."""
    found: list[int] = []
    for i in range(index - 1, -1, -1):
        step = way[i]
        if isinstance(step, Join) or (isinstance(step, Op) and step.what in BOUNDED.values()):
            break
        if isinstance(step, Op):
            found.append(i)
    return found[::-1]


def _scaled_again(way: Way, index: int) -> bool:
    """Whether a number is applied to the result after that was joined with other values, which have no cap."""
    joined = False
    for step in reversed(way[:index]):
        if isinstance(step, Op) and (joined or step.what in BOUNDED.values()):
            return joined and step.what not in BOUNDED.values()
        joined = joined or isinstance(step, Join)
    return False


def _inner(way: Way, index: int) -> list[int]:
    """Where the numbers stand that the value is divided by before the bound; what is added there stays inside."""
    found: list[int] = []
    for i in range(index + 1, len(way)):
        step = way[i]
        if isinstance(step, Join) or (isinstance(step, Op) and step.what not in {"mul", "div"}):
            break
        if isinstance(step, Op):
            if step.number is None and found:
                break  # a gate or a learned scale, behind the numbers of the cap
            found.append(i)
    return found


def _law(kind: str, outer: Iterable[object], inner: Iterable[object]) -> Law | str:
    """The law of `a * kind(x / t) + c`, or the name of a refusal."""
    a, c, t, scaled = 1.0, 0.0, 1.0, False
    for op in reversed(list(outer)):
        assert isinstance(op, Op) and op.number is not None
        n = op.number.value
        if op.what in {"mul", "div"}:
            if n == 0:
                return "decreasing"
            a, c, scaled = (a * n, c * n, True) if op.what == "mul" else (a / n, c / n, True)
        else:
            a, c = (-a, n - c) if op.what == "rsub" else (a, c + n if op.what == "add" else c - n)
    for op in inner:
        assert isinstance(op, Op) and op.number is not None
        n = op.number.value
        if n == 0:
            return "decreasing"
        t = t / n if op.what == "mul" else t * n
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
        return Law("sigmoid", a, t)
    if math.isclose(c, -half, rel_tol=_EXACT):
        return Law("tanh", half, 2 * t)
    return "offset"


def _removed(flow: Flow, way: Way, ops: Sequence[Op]) -> tuple[Op, ...]:
    """The steps to take out: a call instead of those that lie in a helper function which is nothing but a cap."""
    wanted = {id(op) for op in ops}
    removed: list[Op] = []
    covered: set[int] = set()
    for index, step in enumerate(way):
        if isinstance(step, Op) and id(step) in wanted and id(step) not in covered:
            removed.append(step)
        if not isinstance(step, Enter) or id(step) in covered:
            continue
        section = _within(way, index)
        own = [item for item in section or () if isinstance(item, Op)]
        if section and any(id(op) in wanted for op in own) and _is_only_a_cap(flow, step, section[-1], wanted):
            covered |= {id(item) for item in section}
            removed.append(_call(step, section[-1]))
    return tuple(op for op in removed if id(op) not in covered)


def _within(way: Way, index: int) -> Sequence[object] | None:
    """The steps from an Enter to the Leave of the same frame; None where the way ends inside."""
    entered = way[index]
    assert isinstance(entered, Enter)
    for end in range(index + 1, len(way)):
        step = way[end]
        if isinstance(step, Leave) and step.frame is entered.frame:
            return way[index + 1 : end + 1]
    return None


def _is_only_a_cap(flow: Flow, entered: Enter, left: object, wanted: set[int]) -> bool:
    """Whether each way through a function leads from its result to the same parameter, through steps of caps alone."""
    assert isinstance(left, Leave)
    nodes = {id(op.node) for way in flow.ways for op in way if isinstance(op, Op) and id(op) in wanted}
    for way in flow.ways:
        for index, step in enumerate(way):
            if not isinstance(step, Enter) or step.call is not entered.call:
                continue
            section = _within(way, index)
            if section is None:
                return False
            end = section[-1]
            assert isinstance(end, Leave)
            if end.name != left.name or any(isinstance(item, (Move, Join)) for item in section):
                return False
            if any(isinstance(item, Op) and id(item.node) not in nodes for item in section):
                return False
    return True


def _call(entered: Enter, left: object) -> Op:
    """The call of a helper function as a step that leaves its argument when it goes."""
    assert isinstance(left, Leave)
    argument, caller, _ = entered.frame.arguments[left.name]
    return Op(caller, entered.call, "call", taker(entered.call, argument))


def used_elsewhere(cap: Cap, flow: Flow) -> Iterator[tuple[Frame, cst.CSTNode]]:
    """Places that read a half-capped value for another purpose, which the removal would change unasked."""
    kept = {id(op.node) for op in cap.removed}
    frames = {id(op.frame) for op in cap.removed if op.what != "call"}
    for link in cap.links:
        body = link.frame.body
        if id(link.frame) not in frames or "." in link.definition.name:
            continue
        for use in body.uses(link.definition.name):
            statement = body.statement(use)
            found, _ = body.reaching(link.definition.name, statement)
            same = any(one.statement is link.definition.statement for one in found)
            if (
                same
                and id(use) not in flow.used
                and id(statement) not in kept
                and statement is not link.definition.statement
            ):
                yield link.frame, use
    for op in cap.removed:
        yield from _mutated_elsewhere(op)
    yield from _aliased(cap, flow)


def _aliased(cap: Cap, flow: Flow) -> Iterator[tuple[Frame, cst.CSTNode]]:
    """Readers of a tensor after another name of it is changed in place: the cap kept the two apart."""
    gone = {id(op.frame.body.statement(op.node)) for op in cap.removed}
    names: dict[Frame, dict[str, None]] = {}
    for link in (*cap.links, *_beside(cap, flow)):
        names.setdefault(link.frame, {})[link.definition.name] = None
    for frame, same in names.items():
        if len(same) < 2:
            continue
        for statement in (node for node in walk(frame.function.body) if isinstance(node, cst.BaseSmallStatement)):
            changed = written_into(statement)
            if changed in same and id(statement) not in gone:
                for other in same:
                    for use in frame.body.later_uses(other, statement) if other != changed else ():
                        yield frame, statement if id(use) in flow.used else use


def _beside(cap: Cap, flow: Flow) -> Iterator[Link]:
    """The names of what goes into a cap and of what comes out."""
    ops = {id(op.node) for op in cap.steps}
    for way in flow.ways:
        places = [index for index, step in enumerate(way) if isinstance(step, Op) and id(step.node) in ops]
        for steps in (reversed(way[: places[0]]), way[places[-1] + 1 :]) if places else ():
            for step in steps:
                if not isinstance(step, Move):
                    if isinstance(step, Link):
                        yield step
                    break


def _mutated_elsewhere(op: Op) -> Iterator[tuple[Frame, cst.CSTNode]]:
    """Later readers of a tensor that a step changes in place while its result goes to another name."""
    body = op.frame.body
    if not op.in_place:
        return
    statement = body.statement(op.node)
    assert isinstance(op.node, cst.Call)
    name = mutated(op.node)
    if name is None or isinstance(statement, cst.Expr):
        return
    before, _ = body.reaching(name, statement)
    for use in body.later_uses(name, statement):
        found, open_ = body.reaching(name, body.statement(use))
        if open_ or any(one.statement is other.statement for one in found for other in before):
            yield op.frame, use
