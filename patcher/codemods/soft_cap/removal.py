"""Removes caps that were found, or lowers them, where nothing else depends on them, and leaves one comment at each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from patcher.codemods.code import MARK
from patcher.codemods.config_json import with_keys
from patcher.codemods.dataflow.mutation import changed_in_place
from patcher.codemods.dataflow.package import Package
from patcher.codemods.dataflow.replaced import replaced_code
from patcher.codemods.dataflow.steps import CallEntry, LogitPath, Step
from patcher.codemods.outcomes import Applied, Refused
from patcher.codemods.rewrite import rewrite
from patcher.codemods.soft_cap.dependents import other_callers, used_elsewhere
from patcher.codemods.soft_cap.edits import FileEdits, number
from patcher.codemods.soft_cap.find import (
    FoundCap,
    Target,
    flow_of,
    quote_obstacles,
    quote_statements,
    quote_steps,
    too_complex,
)
from patcher.codemods.soft_cap.paths import unclear_paths
from patcher.codemods.work import TooComplex
from patcher.constants import CONFIG

SHIFT_KEY = "splade_logit_shift"
_WHY = "a sigmoid is never negative, so ReLU in SPLADE gave no zeros."
_WHY_LOWERED = "so ReLU in SPLADE gives a zero where the cap is below the shift."


def remove_cap(
    package: Package, found: Sequence[FoundCap], others: Sequence[Target] = (), shift: float = 0.0
) -> Mapping[str, Applied] | Refused:
    """The files that change when these caps are removed, by path; `others` are classes that must not change with them.

    With a `shift`, that constant is subtracted from the logits, in the code and as a key of config.json. Refused where
    other code depends on what would be removed.
    """
    return _change(package, found, others, shift, keep=False)


def lower_cap(
    package: Package, found: Sequence[FoundCap], others: Sequence[Target], shift: float
) -> Mapping[str, Applied] | Refused:
    """The same where each cap stays, and the constant `shift` is subtracted from what it gives."""
    return _change(package, found, others, shift, keep=True)


def _change(
    package: Package, found: Sequence[FoundCap], others: Sequence[Target], shift: float, *, keep: bool
) -> Mapping[str, Applied] | Refused:
    try:
        if problem := _depends_on_cap(package, found, others) or _not_understood(found):
            return problem
        if shift and (problem := _subtracts_twice(found)):
            return problem
    except (TooComplex, RecursionError) as error:
        return too_complex(package, found[0].target.name, error)
    records = [replace(one.soft_cap, shift=shift, kept=keep) for one in found]
    applied: dict[str, Applied] = {}
    if shift and found:
        applied[CONFIG] = Applied(with_keys(package.config_json, {SHIFT_KEY: shift}), (), records[0])
    for path, edits in _edits(found, shift, keep=keep).items():
        record = next((one for one in records if one.file == path), records[0])
        applied[path] = Applied(rewrite(edits.code, edits.replacements), tuple(edits.spans), record)
    return applied


def _not_understood(found: Sequence[FoundCap]) -> Refused | None:
    """What may bound or change the logits in some mode, beside the cap."""
    for one in found:
        checks = (unclear_paths(one.flow, one.cap), replaced_code(one.flow), changed_in_place(one.flow))
        if obstacles := list(chain(*checks)):
            why = "not every path of its logits is understood"
            return Refused("not-understood", f"{one.target.name}: {why}: {quote_obstacles(obstacles)}")
    return None


def _depends_on_cap(package: Package, found: Sequence[FoundCap], others: Sequence[Target]) -> Refused | None:
    """What else of the model a removal would change."""
    for one in found:
        name, text = one.target.name, one.soft_cap.expression
        if uses := list(used_elsewhere(one.cap, one.flow)):
            why = f"{name}: an intermediate value of `{text}` (line {one.soft_cap.line}) is also used elsewhere"
            return Refused("used-elsewhere", f"{why}: {quote_statements(uses)}")
        if problem := _shared(package, one, others):
            return problem
    if calls := list(other_callers(package, [one.cap for one in found], [one.flow for one in found])):
        name, text = found[0].target.name, found[0].soft_cap.expression
        why = f"{name}: the function that contains `{text}` is also called elsewhere"
        return Refused("used-elsewhere", f"{why}: {quote_statements(calls)}")
    return None


def _ends(found: FoundCap) -> dict[int, Step]:
    """The last step of a cap on each path, by the id of its node: there a constant is subtracted."""
    steps = {id(step.node): step for step in found.cap.removed}
    last = (next((node for node in _nodes(path) if node in steps), None) for path in found.flow.paths)
    return {node: steps[node] for node in last if node is not None}


def _subtracts_twice(found: Sequence[FoundCap]) -> Refused | None:
    """Caps whose last step on one path is followed by another one on a second path."""
    for one in found:
        ends = _ends(one)
        for path in one.flow.paths:
            met = dict.fromkeys(node for node in _nodes(path) if node in ends)
            if len(met) > 1:
                shown = quote_steps([ends[node] for node in met])
                return Refused("not-understood", f"{one.target.name}: its cap ends in several places: {shown}")
    return None


def _shared(package: Package, found: FoundCap, others: Iterable[Target]) -> Refused | None:
    """Whether another class of the model would lose the cap as well."""
    removed = {id(step.node) for step in found.cap.removed}
    for other in others if _is_named_elsewhere(package, found) else ():
        flow = flow_of(package, other)
        if flow is not None and any(node in removed for path in flow.paths for node in _nodes(path)):
            shown = quote_steps([found.cap.removed[0]])
            return Refused("shared", f"{found.target.name} shares its soft cap with {other.name}: {shown}")
    return None


def _nodes(path: LogitPath) -> Iterator[int]:
    """The ids of the nodes of a path that can be a step of a cap, the last to run first."""
    for item in path:
        if isinstance(item, Step):
            yield id(item.node)
        elif isinstance(item, CallEntry):
            yield id(item.call)


def _is_named_elsewhere(package: Package, found: FoundCap) -> bool:
    """Whether other code names the classes whose methods change; otherwise no other class can use them."""
    owners = {step.frame.owner.name for step in found.cap.removed if step.frame.owner is not None}
    if any(step.frame.owner is None for step in found.cap.removed):
        return True
    chunks = [chunk for code in package.codes.values() for chunk in code.chunks]
    return any(chunk.words & owners - {name for _, name in chunk.definitions} for chunk in chunks)


def _edits(found: Iterable[FoundCap], shift: float, *, keep: bool) -> dict[str, FileEdits]:
    """The edits of each file; a step that two caps share is changed once. Of a cap to keep only its ends change."""
    edits: dict[str, FileEdits] = {}
    seen: set[int] = set()
    for one in found:
        last, ends = one.cap.removed[0], _ends(one) if shift else {}
        changed = [step for step in one.cap.removed if not keep or id(step.node) in ends]
        for body in dict.fromkeys(step.frame.body for step in changed):
            steps = [step for step in changed if step.frame.body is body and id(step.node) not in seen]
            seen |= {id(step.node) for step in steps}
            if steps:
                code = steps[0].frame.code
                here = last if last.frame.body is body else None
                by_file = edits.setdefault(code.path, FileEdits(code, shift, keep=keep))
                by_file.add(steps, body, _comment(one, shift, keep=keep), here, ends)
    for one_file in edits.values():
        one_file.finish()
    return edits


def _comment(found: FoundCap, shift: float, *, keep: bool) -> str:
    """What is left at a cap; a later run and `find_cap` read it."""
    cap = found.soft_cap
    numbers = f"{cap.kind}, scale {number(cap.scale)}, temperature {number(cap.temperature)}"
    numbers += f", shift {number(shift)}" if shift else ""
    what, why = ("lowered", _WHY_LOWERED) if keep else ("removed", _WHY)
    return f"{MARK} {what} `{cap.expression}` ({numbers}); {why}"
