"""Runs the codemods over the code of a model, each step proved before the next."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from patcher.codemods import (
    CODEMODS,
    REPAIRS,
    Applied,
    Code,
    LeftAlone,
    NotNeeded,
    Outcome,
    Package,
    Refused,
    SoftCap,
    soft_cap,
)
from patcher.codemods.proof import Hunk, hunks, lines, prove
from patcher.codemods.soft_cap import CONFIG
from patcher.errors import CodeError, UsageError
from patcher.planning.model_code import ModelCode, find_code


@dataclass(frozen=True)
class Edit:
    """One changed place: `line` (from 1) in the file as published, and its lines before and after."""

    line: int
    before: str
    after: str

    def as_json(self) -> dict[str, Any]:
        return {"line": self.line, "before": self.before, "after": self.after}


@dataclass(frozen=True)
class CodemodResult:
    """What one codemod did to one file.

    `applied` with its edits; `not_needed`, or `left_alone` for what it found and nobody asked to change, with a reason.
    """

    name: str
    status: str
    file: str
    edits: tuple[Edit, ...] = ()
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "status": self.status,
            "file": self.file,
            "edits": [edit.as_json() for edit in self.edits],
            "reason": self.reason,
        }


NAMES = ("soft_cap", *CODEMODS)


@dataclass(frozen=True)
class Options:
    """What a user may ask for beyond the cap of the masked-LM head and the loading repairs, or instead of them.

    `shift` is a constant to subtract from the raw logits, found by a calibration. `codemods` are those to run alone.
    Raises UsageError for one that does not exist.
    """

    also_causal_lm: bool = False
    checkpointing: bool = False
    codemods: tuple[str, ...] = ()
    shift: float = 0.0

    def __post_init__(self) -> None:
        unknown = [name for name in self.codemods if name not in NAMES]
        if unknown:
            raise UsageError(
                f"There is no codemod {unknown[0]!r}.",
                f"Give one of {', '.join(NAMES)}, or repairs for {', '.join(REPAIRS)}.",
            )

    @classmethod
    def choose(
        cls,
        codemods: Iterable[str],
        also_causal_lm: bool = False,
        checkpointing: bool = False,
    ) -> Options:
        """Options from names as a user gives them; `repairs` stands for all that loading needs. Raises UsageError."""
        names = [part for name in codemods for part in (REPAIRS if name == "repairs" else (name,))]
        return cls(also_causal_lm, checkpointing, tuple(dict.fromkeys(names)))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Options:
        """The value behind `as_json`. Raises TypeError for anything else."""
        known = {key: value for key, value in data.items() if key != "also_signed"}  # of version 0.1.0
        return cls(**{**known, "codemods": tuple(data.get("codemods", ()))})

    @property
    def names(self) -> tuple[str, ...]:
        """The codemods to run, in their order: those that were chosen, or else the cap and the repairs."""
        wanted = {*(self.codemods or ("soft_cap", *REPAIRS)), *(["checkpointing"] if self.checkpointing else [])}
        return tuple(name for name in NAMES if name in wanted)

    def as_json(self) -> dict[str, Any]:
        return {
            "also_causal_lm": self.also_causal_lm,
            "checkpointing": self.checkpointing,
            "codemods": list(self.codemods),
            "shift": self.shift,
        }


@dataclass
class _File:
    """A file on its way through the codemods; `origin[i]` is the line of the published file behind line i."""

    code: Code
    origin: list[int]


def rewrite_code(
    modules: Mapping[str, bytes],
    config: Mapping[str, Any],
    options: Options = Options(),
    keep_cap: bool = False,
    config_json: bytes = b"{}",
) -> tuple[dict[str, bytes], tuple[CodemodResult, ...], SoftCap | None]:
    """Run the codemods over the files that the model's class needs.

    `keep_cap` leaves the cap in place and makes the base model of the verification: as published, loading right.
    Returns the files that were looked at, rewritten (config.json among them with a shift), one result per codemod
    and file, and the cap, or None where it was not asked for or a signed one was left alone.
    Raises SourceError where there is no such class, CodeError where a codemod refuses.
    """
    found = find_code(modules, config, options.also_causal_lm, config_json)
    files = {path: _File(code, list(range(1, len(lines(code.text)) + 2))) for path, code in found.package.codes.items()}
    cap, rewritten, results = None, dict[str, bytes](), list[CodemodResult]()
    if "soft_cap" in options.names:
        cap, rewritten, results = _take_off_cap(found, options, keep_cap, files)
    for file in files.values():
        results += _repair(file, [name for name in options.names if name in CODEMODS])
        rewritten[file.code.path] = file.code.content
    return rewritten, tuple(results), cap


def _repair(file: _File, names: Iterable[str]) -> Iterator[CodemodResult]:
    """The codemods that look at one file at a time."""
    for name in names:
        path, outcome = file.code.path, CODEMODS[name](file.code)
        if isinstance(outcome, Refused):
            raise refusal(path, outcome)
        if isinstance(outcome, Applied):
            yield _apply(file, name, outcome)
            _assert_settled(name, path, CODEMODS[name](file.code))
        else:
            yield CodemodResult(name, "not_needed", path, reason=outcome.reason)


def _take_off_cap(
    found: ModelCode, options: Options, keep_cap: bool, files: Mapping[str, _File]
) -> tuple[SoftCap | None, dict[str, bytes], list[CodemodResult]]:
    """The codemod that looks at all files at once: the cap, config.json where that changed, and the results."""
    outcomes = soft_cap(found.package, found.targets, found.others, options.shift)
    if isinstance(outcomes, Refused):
        raise refusal(found.targets[0].path, outcomes)
    cap: SoftCap | None = None
    rewritten: dict[str, bytes] = {}
    results: list[CodemodResult] = []
    for path, outcome in outcomes.items():
        if isinstance(outcome, Refused):
            raise refusal(path, outcome)
        if isinstance(outcome, LeftAlone):
            results.append(CodemodResult("soft_cap", "left_alone", path, reason=outcome.reason))
            continue
        cap = cap or outcome.soft_cap
        if isinstance(outcome, NotNeeded):
            results.append(CodemodResult("soft_cap", "not_needed", path, reason=outcome.reason))
        elif path == CONFIG:
            rewritten[path] = found.package.config_json if keep_cap else outcome.code
            if not keep_cap:
                results.append(CodemodResult("soft_cap", "applied", path, _config_edits(found, outcome)))
        elif not keep_cap:
            results.append(_apply(files[path], "soft_cap", outcome))
    if any(result.status == "applied" for result in results):
        after = _package_after(found.package, files, rewritten)
        second = soft_cap(after, found.targets, found.others, options.shift)
        for again in second.values() if isinstance(second, Mapping) else [second]:
            _assert_settled("soft_cap", found.targets[0].path, again)
    return cap, rewritten, results


def _apply(file: _File, name: str, outcome: Applied) -> CodemodResult:
    """Go on with the result of one step, after the proof that only the intended lines and nodes differ."""
    before, after = file.code, file.code.changed(outcome.code)
    changed = prove(before, after, outcome.spans)
    edits = tuple(_edit(before.text, after.text, hunk, file.origin) for hunk in changed)
    file.origin, file.code = _follow(file.origin, changed), after
    return CodemodResult(name, "applied", before.path, edits)


def _assert_settled(name: str, path: str, second: Outcome) -> None:
    """A second run must change nothing."""
    if not isinstance(second, NotNeeded):
        raise CodeError(
            f"{name} would change {path} a second time; nothing was written.",
            "This is a defect of splade-patcher: please report it with the name and the revision of the model.",
        )


def refusal(path: str, refused: Refused) -> CodeError:
    """What a refusal means to the user; its name stands in brackets and never changes."""
    return CodeError(f"{path}: {refused.reason} [{refused.name}].", REFUSALS.get(refused.name, _HINT))


_HINT = "Nothing was changed. If this model should be patched, please report it with these lines."
_NUMBER = "Write the number into the code or into config.json, in a copy of the repository, then patch that."
_CLASS = "Fill these tables in `_init_weights` by hand, in a copy of the repository, then patch that."
# The names of all refusals: they never change, and each has its test.
REFUSALS: Mapping[str, str] = {
    "no-cap": "Its logits may be raw already: then train on it as it is. If they are capped, please report it.",
    "no-forward": _HINT,
    "several-caps": "Take all but one out by hand, in a copy of the repository, then patch that.",
    "not-understood": _HINT,
    "no-scale": _HINT,
    "scale-unknown": _NUMBER,
    "temperature-unknown": _NUMBER,
    "offset": _HINT,
    "decreasing": _HINT,
    "in-a-container": "Take the layer out by hand, in a copy of the repository, and rename what its checkpoint holds.",
    "used-elsewhere": "Let the other line read the uncapped value, in a copy of the repository, then patch that.",
    "shared": "--also-causal-lm takes it off both where that other class is the causal head; else please report it.",
    "rotary-in-model": _CLASS,
    "rotary-no-home": _CLASS,
    "rotary-no-super-init": _CLASS,
    "rotary-positional-only": _CLASS,
    "rotary-star-arguments": _CLASS,
}


def _package_after(package: Package, files: Mapping[str, _File], rewritten: Mapping[str, bytes]) -> Package:
    codes = {path: file.code for path, file in files.items()}
    content = rewritten.get(CONFIG, package.config_json)
    config = json.loads(content) if CONFIG in rewritten else package.config
    return replace(package, codes=codes, config=config, config_json=content)


def _config_edits(found: ModelCode, outcome: Applied) -> tuple[Edit, ...]:
    before, after = found.package.config_json.decode("utf-8"), outcome.code.decode("utf-8")
    origin = list(range(1, len(lines(before)) + 2))
    return tuple(_edit(before, after, hunk, origin) for hunk in hunks(before, after))


def _edit(before: str, after: str, hunk: Hunk, origin: list[int]) -> Edit:
    old, new = lines(before), lines(after)
    return Edit(
        line=origin[min(hunk.before[0], len(origin) - 1)],
        before="".join(old[slice(*hunk.before)]),
        after="".join(new[slice(*hunk.after)]),
    )


def _follow(origin: list[int], hunks: Iterable[Hunk]) -> list[int]:
    """Carry the published line numbers over to the new text; an inserted line takes that of the line it precedes."""
    followed, at = [], 0
    for hunk in hunks:
        followed += origin[at : hunk.before[0]]
        here = origin[min(hunk.before[0], len(origin) - 1)]
        followed += [here] * (hunk.after[1] - hunk.after[0])
        at = hunk.before[1]
    return followed + origin[at:]
