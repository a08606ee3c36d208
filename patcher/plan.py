"""Decides what would change in a snapshot. Writes nothing, runs no model code and needs no weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import unified_diff
from pathlib import PurePosixPath
from typing import Any

import libcst as cst
from huggingface_hub import ModelCard
from yaml import YAMLError

from patcher.codemods import CODEMODS, REPAIRS, Applied, Code, NotNeeded, Refused, SoftCap
from patcher.codemods.proof import Hunk, assert_only_intended, lines
from patcher.errors import CodeError, SourceError
from patcher.snapshot import Snapshot, Source, fetch

SCHEMA_VERSION = 1
CARD, RECORD, REPORT, PAGE = "README.md", "patch.json", "report.json", "report.html"
PLOTS = tuple(
    f"plots/{name}.{kind}" for name in ("logits", "sparsity", "active_dims", "shift") for kind in ("png", "svg")
)
# Drawn from the report: about the other files, so that no report hashes them and no record lists them.
DRAWN = frozenset({PAGE, *PLOTS})

# First match wins. What is left of a pattern's last slash is a folder.
_DROPPED = (
    (r".*\.onnx(_data|\.data)?|(.*/)?onnx/.*", "exported graph: it still contains the sigmoid"),
    (r"(.*/)?openvino/.*|.*openvino.*\.(xml|bin)", "exported graph: it still contains the sigmoid"),
    (r"(.*/)?coreml/.*|.*\.(tflite|gguf|mlmodel|mlpackage|pb)", "exported graph: it still contains the sigmoid"),
    (r".*\.(bin|pt|pth|ckpt|pkl|pickle)(\.index\.json)?", "pickled weights: loading them can execute code"),
    (r".*\.(h5|msgpack|ot)(\.index\.json)?", "weights of another framework: safetensors are carried over"),
    (re.escape(CARD), "replaced by the generated model card"),
    (rf"{re.escape(RECORD)}|{re.escape(REPORT)}", "replaced by the record of this patch"),
    (rf"{re.escape(PAGE)}(/.*)?|plots|{'|'.join(map(re.escape, PLOTS))}", "replaced by what is drawn from the report"),
)


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
    """What one codemod did to one file: `applied` with its edits, or `not_needed` with its reason."""

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


@dataclass(frozen=True)
class FileTable:
    """Every file of the source: rewritten, carried over byte for byte, or left out with a reason."""

    changed: tuple[str, ...]
    copied: tuple[str, ...]
    dropped: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        return {
            "changed": list(self.changed),
            "copied": list(self.copied),
            "dropped": [{"path": path, "reason": reason} for path, reason in self.dropped.items()],
        }


@dataclass(frozen=True)
class Options:
    """What a user may ask for beyond the cap of the masked-LM head and the loading repairs."""

    also_causal_lm: bool = False
    checkpointing: bool = False

    def as_json(self) -> dict[str, Any]:
        return {"also_causal_lm": self.also_causal_lm, "checkpointing": self.checkpointing}


@dataclass(frozen=True)
class Plan:
    """What would change: `originals` and `contents` are changed code before and after, `modules` all code before."""

    source: Source
    soft_cap: SoftCap
    codemods: tuple[CodemodResult, ...]
    files: FileTable
    diff: str
    options: Options = Options()
    base_card: Mapping[str, Any] = field(default_factory=dict)
    modules: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    originals: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    contents: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def executed(self) -> Mapping[str, bytes]:
        """The Python files of the patched folder, any of which loading the model may run."""
        return {**self.modules, **self.contents}

    @property
    def already_patched(self) -> bool:
        """Whether an earlier run removed the cap."""
        return all(result.status != "applied" for result in self.codemods if result.name == "soft_cap")

    def as_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "source": self.source.as_json(),
            "soft_cap": self.soft_cap.as_json(),
            "codemods": [result.as_json() for result in self.codemods],
            "files": self.files.as_json(),
            "diff": self.diff,
        }


def make_plan(snapshot: Snapshot, options: Options = Options()) -> Plan:
    """Decide what would change in the snapshot.

    Fetches config.json, the card and the Python files, nothing else. Raises SourceError when the snapshot is no model
    with its own masked-LM code, and CodeError when the code can't be read or the cap is missing or ambiguous.
    """
    if "config.json" not in snapshot.paths:
        raise SourceError(f"{snapshot.source} has no config.json.", "Give a model repository or a folder with one.")
    python = [path for path in snapshot.paths if path.endswith(".py")]
    snapshot = fetch(snapshot, ["config.json", *python, *([CARD] if CARD in snapshot.paths else [])])
    config = _config(snapshot)
    modules = {path: snapshot.read(path) for path in python}
    rewritten, results, soft_cap = rewrite_code(modules, config, options)
    changed = tuple(path for path in sorted(rewritten) if rewritten[path] != modules[path])
    return Plan(
        source=snapshot.source,
        soft_cap=soft_cap,
        codemods=results,
        files=file_table(snapshot.paths, changed),
        diff="".join(_diff(path, modules[path], rewritten[path]) for path in changed),
        options=options,
        base_card=_base_card(snapshot),
        modules=modules,
        originals={path: modules[path] for path in changed},
        contents={path: rewritten[path] for path in changed},
    )


def rewrite_code(
    modules: Mapping[str, bytes],
    config: Mapping[str, Any],
    options: Options = Options(),
    keep_cap: bool = False,
) -> tuple[dict[str, bytes], tuple[CodemodResult, ...], SoftCap]:
    """Run the codemods over the files that `auto_map` reaches, each step proved before the next.

    `keep_cap` leaves the cap in place and makes the base model of the verification: as published, loading right.
    Returns the reachable files rewritten, one result per codemod and file, and the cap.
    Raises CodeError as `make_plan` does.
    """
    names = ["soft_cap", *REPAIRS, *(["checkpointing"] if options.checkpointing else [])]
    homes = _homes(config, options)
    rewritten: dict[str, bytes] = {}
    results: list[CodemodResult] = []
    soft_cap: SoftCap | None = None
    for start in _reachable(modules, homes, config):
        code, path = start, start.path
        origin = list(range(1, len(lines(start.text)) + 2))  # origin[i]: line of the published file behind line i
        for name in names:
            if name == "soft_cap" and not code.capped_classes:
                continue
            outcome = CODEMODS[name](code)
            if isinstance(outcome, Refused):
                raise CodeError(
                    f"{path}: {outcome.reason}.",
                    "Nothing was changed. If this model differs from the NorBERT4 family, please report it.",
                )
            if name == "soft_cap":
                soft_cap = soft_cap or outcome.soft_cap
            if isinstance(outcome, NotNeeded):
                results.append(CodemodResult(name, "not_needed", path, reason=outcome.reason))
                continue
            if name == "soft_cap" and keep_cap:
                continue
            after, hunks = _prove(code, outcome, name)
            edits = tuple(_edit(code.text, after.text, hunk, origin) for hunk in hunks)
            results.append(CodemodResult(name, "applied", path, edits))
            origin, code = _follow(origin, hunks), after
        rewritten[path] = code.content
    assert soft_cap is not None  # the codemod refuses where it finds none
    return rewritten, tuple(results), soft_cap


def _prove(code: Code, outcome: Applied, name: str) -> tuple[Code, tuple[Hunk, ...]]:
    """Check one step: only the intended lines and nodes differ, and a second run changes nothing."""
    after = replace(code, content=outcome.code)
    hunks = assert_only_intended(code.text, after.text, outcome.spans, code.path)
    if not isinstance(CODEMODS[name](after), NotNeeded):
        raise CodeError(
            f"{name} would change {code.path} a second time; nothing was written.",
            "This is a defect of splade-patcher: please report it with the name and the revision of the model.",
        )
    return after, hunks


def _config(snapshot: Snapshot) -> dict[str, Any]:
    try:
        config = json.loads(snapshot.read("config.json").decode("utf-8"))
    except ValueError as error:
        raise SourceError(f"config.json of {snapshot.source} is not valid JSON: {error}.", "Mend that file.") from error
    if not isinstance(config, dict):
        raise SourceError(f"config.json of {snapshot.source} is not an object.", "Mend that file.")
    return config


def _base_card(snapshot: Snapshot) -> dict[str, Any]:
    """What the source's card says of licence, languages and tags; nothing where it has none that can be read."""
    if CARD not in snapshot.paths:
        return {}
    try:
        card = ModelCard(snapshot.read(CARD).decode("utf-8-sig", "replace"), ignore_metadata_errors=True)
        data: dict[str, Any] = card.data.to_dict()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, YAMLError, SourceError):
        return {}
    kept: dict[str, Any] = {
        key: data[key] for key in ("license", "license_name", "license_link") if isinstance(data.get(key), str)
    }
    # YAML 1.1 reads an unquoted `no`, the code of Norwegian, as False.
    languages = ["no" if item is False else item for item in _listed(data.get("language"))]
    kept["language"] = [item for item in languages if isinstance(item, str)]
    kept["tags"] = [item for item in _listed(data.get("tags")) if isinstance(item, str)]
    return kept


def _listed(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _homes(config: Mapping[str, Any], options: Options) -> dict[str, str]:
    """The classes to uncap and the files they stand in, read from `auto_map`."""
    auto_map = config.get("auto_map") or {}
    if not isinstance(auto_map, dict):
        raise SourceError("auto_map in config.json is not an object.", "Mend that file.")
    foreign = [value for value in auto_map.values() if "--" in str(value)]
    if foreign:
        raise SourceError(
            f"auto_map points to another repository ({foreign[0]}), so transformers would ignore the patched file.",
            "Patch that other repository, or put its code beside config.json and name it without `repo--`.",
        )
    wanted = ["AutoModelForMaskedLM", *(["AutoModelForCausalLM"] if options.also_causal_lm else [])]
    homes: dict[str, str] = {}
    for auto_class in wanted:
        target = auto_map.get(auto_class)
        if not isinstance(target, str) or "." not in target:
            raise SourceError(
                f"auto_map in config.json names no class for {auto_class}.",
                "Only models that bring their own masked-LM code can be patched; SPLADE needs that head.",
            )
        module, _, class_name = target.rpartition(".")
        homes[class_name] = module.replace(".", "/") + ".py"
    return homes


def _reachable(modules: Mapping[str, bytes], homes: Mapping[str, str], config: Mapping[str, Any]) -> list[Code]:
    """The files that transformers would load: those of `auto_map`, and what they import relatively."""
    waiting, seen = list(dict.fromkeys(homes.values())), dict[str, Code]()
    while waiting:
        path = waiting.pop(0)
        if path not in modules:
            raise SourceError(f"auto_map needs {path}, which is not there.", "Give a complete model repository.")
        code = Code(path, modules[path], config, tuple(name for name, home in homes.items() if home == path))
        missing = [name for name in code.capped_classes if name not in code.classes()]
        if missing:
            raise CodeError(f"auto_map names {missing[0]}, which {path} does not define.", "Mend config.json.")
        seen[path] = code
        for statement in code.nodes(cst.ImportFrom):
            waiting += [p for p in _imported(path, statement) if p in modules and p not in seen and p not in waiting]
    return list(seen.values())


def _imported(path: str, statement: cst.ImportFrom) -> Iterable[str]:
    if not statement.relative:
        return
    folder = PurePosixPath(path).parents[len(statement.relative) - 1]
    if statement.module is not None:
        dotted = cst.Module([]).code_for_node(statement.module)
        yield str(folder / (dotted.replace(".", "/") + ".py"))
    elif not isinstance(statement.names, cst.ImportStar):
        for alias in statement.names:
            yield str(folder / f"{alias.evaluated_name}.py")


def file_table(paths: Iterable[str], changed: tuple[str, ...]) -> FileTable:
    """What becomes of each file: `changed` is rewritten, graphs and pickles are left out, the rest is carried over."""
    dropped = {path: reason for path in paths if (reason := dropped_because(path))}
    copied = tuple(path for path in paths if path not in dropped and path not in changed)
    return FileTable(changed, copied, dropped)


def dropped_because(path: str) -> str | None:
    return next((reason for pattern, reason in _DROPPED if re.fullmatch(pattern, path, re.IGNORECASE)), None)


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


def _diff(path: str, before: bytes, after: bytes) -> str:
    encoding = Code(path, before, {}).module.encoding
    old, new = lines(before.decode(encoding)), lines(after.decode(encoding))
    found = unified_diff(old, new, f"a/{path}", f"b/{path}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in found)
