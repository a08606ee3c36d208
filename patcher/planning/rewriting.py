"""Runs the codemods over the code of a model, and proves each step before the next."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from patcher.codemods import (
    CODEMODS,
    Applied,
    Class,
    Code,
    FoundCap,
    LeftAlone,
    NotNeeded,
    Outcome,
    Package,
    Refused,
    computed_buffers,
    config_defaults,
    drop_bos,
    find_cap,
    lower_cap,
    max_length,
    remove_cap,
    removed_methods,
    tied_weights,
)
from patcher.codemods.chunks import lines
from patcher.codemods.proof import Hunk, defect, hunks, prove
from patcher.constants import CONFIG, TOKENIZER
from patcher.planning.auto_class import MASKED, VOCABULARY_HEADS
from patcher.planning.marked import mark_configuration
from patcher.planning.model_code import ModelCode, find_code
from patcher.planning.options import CodemodResult, Edit, Options
from patcher.planning.refusals import refusal
from patcher.soft_cap import SoftCap


@dataclass(frozen=True)
class Rewritten:
    """The code of a model after the codemods, files by their path.

    `contents` are the files that the class needs, with all codemods applied, and config.json where it changes.
    `base` are the same files with the repairs, with the cap and with the first row, which a verification compares with.
    `soft_cap` is the cap that was removed, now or by an earlier run that left nothing to do; `kept_cap` is one that
    stays because its removal was not chosen.
    """

    contents: Mapping[str, bytes]
    base: Mapping[str, bytes]
    results: tuple[CodemodResult, ...] = ()
    soft_cap: SoftCap | None = None
    kept_cap: SoftCap | None = None


@dataclass
class _File:
    """A file between two codemods; `origin[i]` is the line of the published file behind line i."""

    code: Code

    def __post_init__(self) -> None:
        self.origin = list(range(1, len(lines(self.code.text)) + 2))


def rewrite_code(
    modules: Mapping[str, bytes],
    config: Mapping[str, Any],
    options: Options = Options(),
    config_json: bytes | None = None,
    auto_class: str = MASKED,
) -> Rewritten:
    """Run the codemods over the files that the model's class needs.

    That class is the masked LM where its cap is to be removed, else the one that `auto_class` loads. The results have
    one entry per codemod and file. `config_json` is the file behind `config`, every other byte of which is to stay.
    Raises SourceError where there is no such class, CodeError where a codemod refuses.
    """
    config_json = json.dumps(config, indent=2).encode() if config_json is None else config_json
    removes_cap = "soft_cap" in options.names
    model = find_code(
        modules,
        config,
        auto_class=MASKED if removes_cap else auto_class,
        also_causal_lm=removes_cap and options.also_causal_lm,
        config_json=config_json,
    )
    files = {path: _File(code) for path, code in model.package.codes.items()}
    model, first = _repair_package(model, files, options.names)
    published, repaired_config = model.package.codes, model.package.config_json
    outcomes = _cap_outcomes(model, options) if removes_cap else {}
    results = [_cap_result(path, outcome, model, files) for path, outcome in outcomes.items()]
    if any(result.status == "applied" for result in results):
        _assert_removed(model, files)
    base = {path: _File(code) if files[path].code is not code else files[path] for path, code in published.items()}
    repairs = [name for name in options.names if name in CODEMODS]
    for path, file in files.items():
        if base[path] is not file:
            _repair(base[path], repairs, model.package)
        results += _repair(file, repairs, model.package)
    results += first
    before = {path: file.code.content for path, file in base.items()}
    if "drop_bos" in options.names:
        results += _drop_bos(model, files)
    config_change = outcomes.get(CONFIG)
    written = config_change.code if isinstance(config_change, Applied) else repaired_config

    def changed(config: dict[str, bytes]) -> dict[str, bytes]:
        return {path: content for path, content in config.items() if content != config_json}

    keeps_cap = not removes_cap and auto_class in VOCABULARY_HEADS
    kept = find_cap(model.package, model.targets[0]) if keeps_cap else None
    # Where an earlier run removed the cap and this one drops the row, the base model has no cap either.
    drops = any(one.name == "drop_bos" and one.status == "applied" for one in results)
    kinds = (Applied,) if drops else (Applied, NotNeeded)
    removed = (one.soft_cap for one in outcomes.values() if isinstance(one, kinds))
    after = {path: file.code.content for path, file in files.items()}
    target = model.targets[0].path
    return Rewritten(
        contents={**changed({CONFIG: written}), **after, **mark_configuration(after, modules, config, target)},
        base={**changed({CONFIG: repaired_config}), **before, **mark_configuration(before, modules, config, target)},
        results=tuple(results),
        soft_cap=next((cap for cap in removed if cap is not None), None),
        kept_cap=kept.soft_cap if isinstance(kept, FoundCap) else None,
    )


def rewrite_tokenizer(content: bytes, config: Mapping[str, Any], options: Options = Options()) -> Rewritten:
    """Run the codemod of tokenizer_config.json over that file of a model; `config` is the model's configuration."""
    if max_length.__name__ not in options.names:
        return Rewritten({}, {})
    outcome = max_length(content, config)
    if isinstance(outcome, NotNeeded):
        result = CodemodResult(max_length.__name__, "not_needed", TOKENIZER, reason=outcome.reason)
        return Rewritten({}, {}, (result,))
    written = {TOKENIZER: outcome.code}
    return Rewritten(written, written, (_json_result(max_length.__name__, content, outcome.code, TOKENIZER),))


def _repair_package(
    model: ModelCode, files: Mapping[str, _File], names: Iterable[str]
) -> tuple[ModelCode, list[CodemodResult]]:
    """Run the repairs that look at all files of a model. Raises CodeError."""
    results: list[CodemodResult] = []
    repairs: dict[str, Callable[[ModelCode], Mapping[str, Outcome]]] = {
        "removed_methods": lambda one: removed_methods(one.package),
        "tied_weights": lambda one: tied_weights(one.package),
        "config_defaults": lambda one: config_defaults(one.package, one.configuration),
    }
    for name in (name for name in names if name in repairs):
        with _refusing_what_is_too_deep(name, model.targets[0].path):
            outcomes = repairs[name](model)
        for path, outcome in outcomes.items():
            if isinstance(outcome, Refused):
                raise refusal(path, outcome)
            if not isinstance(outcome, Applied):
                results.append(CodemodResult(name, "not_needed", path, reason=outcome.reason))
            elif path == CONFIG:
                results.append(_json_result(name, model.package.config_json, outcome.code))
                package = replace(model.package, config=json.loads(outcome.code), config_json=outcome.code)
                model = replace(model, package=package)
            else:
                results.append(_apply(files[path], name, outcome))
        model = _updated(model, {path: file.code for path, file in files.items()})
        if any(isinstance(one, Applied) for one in repairs[name](model).values()):
            raise defect(f"{name} would change the model a second time")
    return model, results


def _updated(model: ModelCode, codes: Mapping[str, Code]) -> ModelCode:
    """The model with other code in its files."""
    package, own = replace(model.package, codes=codes), model.configuration
    found = package.top_level(codes[own.code.path], own.name) if own is not None else None
    return replace(model, package=package, configuration=found if isinstance(found, Class) else None)


def _json_result(name: str, before: bytes, after: bytes, path: str = CONFIG) -> CodemodResult:
    """What a codemod did to a JSON file."""
    old, new = before.decode("utf-8"), after.decode("utf-8")
    edits = _edits(old, new, hunks(old, new), range(1, len(lines(old)) + 2))
    return CodemodResult(name, "applied", path, edits)


def _cap_outcomes(model: ModelCode, options: Options) -> dict[str, Applied | NotNeeded | LeftAlone]:
    """What happens to the caps of the targets, by file. Raises CodeError where the codemod refuses."""
    outcomes: dict[str, Applied | NotNeeded | LeftAlone] = {}
    caps: list[FoundCap] = []
    for target in model.targets:
        found = find_cap(model.package, target)
        if isinstance(found, Refused):
            raise refusal(model.targets[0].path, found)
        if isinstance(found, FoundCap):
            caps.append(found)
        else:
            outcomes.setdefault(target.path, found)
    if options.threshold is not None:
        changed = lower_cap(model.package, caps, model.others, math.expm1(options.threshold))
    else:
        changed = remove_cap(model.package, caps, model.others, options.shift)
    if isinstance(changed, Refused):
        raise refusal(model.targets[0].path, changed)
    return {**outcomes, **changed}


def _cap_result(
    path: str, outcome: Applied | NotNeeded | LeftAlone, model: ModelCode, files: Mapping[str, _File]
) -> CodemodResult:
    """Apply an outcome of the cap's removal to its file, and say so."""
    if isinstance(outcome, Applied) and path == CONFIG:
        return _json_result("soft_cap", model.package.config_json, outcome.code)
    if isinstance(outcome, Applied):
        return _apply(files[path], "soft_cap", outcome)
    status = "left_alone" if isinstance(outcome, LeftAlone) else "not_needed"
    return CodemodResult("soft_cap", status, path, reason=outcome.reason)


def _repair(file: _File, names: Iterable[str], package: Package) -> list[CodemodResult]:
    """Run the codemods that change one file at a time."""
    results = []
    for name in names:
        path, outcome = file.code.path, _outcome(name, file.code, package)
        if isinstance(outcome, Refused):
            raise refusal(path, outcome)
        if isinstance(outcome, Applied):
            results.append(_apply(file, name, outcome))
            if not isinstance(_outcome(name, file.code, package), NotNeeded):
                raise defect(f"{name} would change {path} a second time")
        else:
            results.append(CodemodResult(name, "not_needed", path, reason=outcome.reason))
    return results


def _outcome(name: str, code: Code, package: Package) -> Outcome:
    """What a codemod makes of a file; where tensors are computed and which class is to keep them may be two files."""
    with _refusing_what_is_too_deep(name, code.path):
        return computed_buffers(code, package) if name == computed_buffers.__name__ else CODEMODS[name](code)


@contextmanager
def _refusing_what_is_too_deep(name: str, path: str) -> Iterator[None]:
    """Raise CodeError where a codemod follows names or calls of a file deeper than Python's stack."""
    try:
        yield
    except RecursionError as error:
        why = f"too many values depend on one another for {name} to follow"
        raise refusal(path, Refused("too-complex", why)) from error


def _apply(file: _File, name: str, outcome: Applied) -> CodemodResult:
    """Go on with the result of one codemod, after the proof that only the intended lines and nodes differ."""
    before, after = file.code, file.code.changed(outcome.code)
    changed = prove(before, after, outcome.spans)
    edits = _edits(before.text, after.text, changed, file.origin)
    for (start, end), (first, last) in ((hunk.before, hunk.after) for hunk in reversed(changed)):
        file.origin[start:end] = [file.origin[start]] * (last - first)  # an inserted line has that of the next one
    file.code = after
    return CodemodResult(name, "applied", before.path, edits)


def _drop_bos(model: ModelCode, files: Mapping[str, _File]) -> list[CodemodResult]:
    """Make the synthetic first row zero, which the base model keeps. Raises CodeError."""

    def outcomes() -> Mapping[str, Outcome]:
        package = replace(model.package, codes={path: file.code for path, file in files.items()})
        return drop_bos(package, model.targets[0], (*model.targets[1:], *model.others))

    results: list[CodemodResult] = []
    for path, outcome in outcomes().items():
        if isinstance(outcome, Refused):
            raise refusal(path, outcome)
        if isinstance(outcome, Applied):
            results.append(_apply(files[path], "drop_bos", outcome))
        else:
            results.append(CodemodResult("drop_bos", "not_needed", path, reason=outcome.reason))
    if not all(isinstance(one, NotNeeded) for one in outcomes().values()):
        raise defect("drop_bos would change the model a second time")
    return results


def _assert_removed(model: ModelCode, files: Mapping[str, _File]) -> None:
    """Prove that a second run would remove nothing more."""
    after = replace(model.package, codes={path: file.code for path, file in files.items()})
    for target in model.targets:
        if not isinstance(find_cap(after, target), (NotNeeded, LeftAlone)):
            raise defect(f"soft_cap would change {target.path} a second time")


def _edits(before: str, after: str, changed: Iterable[Hunk], origin: Sequence[int]) -> tuple[Edit, ...]:
    old, new = lines(before), lines(after)
    return tuple(
        Edit(origin[hunk.before[0]], "".join(old[slice(*hunk.before)]), "".join(new[slice(*hunk.after)]))
        for hunk in changed
    )
