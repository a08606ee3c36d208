"""The plan of a publication: what one commit would hold and what it would do to the target. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import unified_diff
from typing import Any

from patcher.constants import CARD, RECORD, SCHEMA_VERSION
from patcher.documents import card as cards
from patcher.errors import PatcherError, PublishError, UsageError
from patcher.patching.record import PatchedModel
from patcher.publish.hub import Hub
from patcher.publish.operations import NOT_PUBLISHED, Operation, Piece, decide, pieces, public
from patcher.publish.preflight import (
    Account,
    check_access,
    check_licence,
    check_names,
    check_report,
    find_origin,
    unrecorded,
    who,
)
from patcher.publish.target import Target, look
from patcher.source.hub_errors import from_publishing
from patcher.verify.report import Report

NEW, EQUAL, UPDATE, REPLACE = "new", "equal", "update", "replace"
_LONGEST_DIFF = 30_000


@dataclass(frozen=True)
class PublishOptions:
    """What a user may ask for beyond a commit on main. `revision` is a branch, `tag` is put on the commit."""

    private: bool = False
    create_pr: bool = False
    revision: str | None = None
    tag: str | None = None
    commit_message: str | None = None
    upload_weights: bool = False
    force: bool = False
    replace_card: bool = False
    unverified: bool = False


@dataclass(frozen=True)
class PublishPlan:
    """What would be committed. `case` is new, equal, update (of our own) or replace (of somebody else's content).

    `kept` maps each file of the target that stays as it is to the reason; `diff` is against the target, or against the
    source where the target is new.
    """

    target: Target
    account: Account
    case: str
    operations: tuple[Operation, ...]
    pieces: tuple[Piece, ...]
    kept: Mapping[str, str]
    notes: tuple[str, ...]
    diff: str
    model: PatchedModel
    card: str
    message: str
    description: str
    options: PublishOptions = PublishOptions()

    @property
    def repo_id(self) -> str:
        return self.target.repo_id

    @property
    def bytes_uploaded(self) -> int:
        return sum(operation.size for operation in self.operations if operation.op == "upload")

    @property
    def bytes_copied(self) -> int:
        return sum(operation.size for operation in self.operations if operation.op == "copy")

    @property
    def wanted(self) -> tuple[Piece, ...]:
        """The files that stand at the target afterwards, without those that are kept there."""
        return tuple(piece for piece in self.pieces if piece.path not in self.kept)

    @property
    def tag_missing(self) -> bool:
        return self.options.tag is not None and self.options.tag not in self.target.tags

    def as_json(self) -> dict[str, Any]:
        target = self.target
        return {
            "schema_version": SCHEMA_VERSION,
            "repo_id": self.repo_id,
            "account": self.account.name,
            "case": self.case,
            "private": self.options.private if target.private is None else target.private,
            "revision": target.revision,
            "parent_commit": target.head,
            "create_pr": self.options.create_pr,
            "tag": self.options.tag,
            "operations": [operation.as_json() for operation in self.operations],
            "bytes_uploaded": self.bytes_uploaded,
            "bytes_copied": self.bytes_copied,
            "kept": [{"path": path, "reason": reason} for path, reason in self.kept.items()],
            "notes": list(self.notes),
            "commit_message": self.message,
            "diff": self.diff,
        }


def make_plan(
    model: PatchedModel, report: Report | None, repo_id: str, options: PublishOptions, hub: Hub
) -> PublishPlan:
    """Check everything that can be checked without writing, and decide what the commit would hold.

    Raises UsageError, PublishError, AccessDenied and HubUnreachable for what stands in the way.
    """
    if options.create_pr and (options.tag or options.private):
        raise UsageError("A pull request has neither a tag nor a visibility of its own.", "Leave out --create-pr.")
    check_names(model, repo_id, options.revision)
    check_report(model, report, options.unverified)
    text = _card(model, report, repo_id, options.tag)
    check_licence(model, text)
    account = who(hub)
    try:
        target = look(hub, repo_id, options.revision, account.name if options.create_pr else None)
        check_access(hub, account, target, options.create_pr)
        origin = find_origin(hub, model, options.upload_weights)
    except PatcherError:
        raise
    except Exception as error:
        raise from_publishing(error, repo_id) from error
    _check_target(model, target, options)
    wanted = pieces(model, report, text)
    kept = _kept(target, wanted, options)
    case = NEW if target.empty else UPDATE if target.is_ours(model) else REPLACE
    operations = decide(wanted, target.files, model, origin, frozenset(kept), target.published, case == REPLACE)
    gone = {operation.path for operation in operations if operation.op == "delete"}
    others = set(target.files) - {piece.path for piece in wanted} - gone - NOT_PUBLISHED
    notes = [f"{path} is not in {RECORD} and is not published" for path in unrecorded(model)]
    if origin.refusal and any(op.op == "upload" and op.path.endswith(".safetensors") for op in operations):
        notes.append(f"the weights are uploaded: {origin.refusal}")
    elif any(op.op == "upload" and (file := model.file(op.path)) and file.action == "converted" for op in operations):
        notes.append("the weights are uploaded: they were converted here, so the source has no such file to copy")
    plan = PublishPlan(
        target=target,
        account=account,
        case=case if operations else EQUAL,
        operations=operations,
        pieces=wanted,
        kept={**kept, **{path: "not part of this model" for path in sorted(others)}},
        notes=tuple(notes),
        diff=model.diff if target.empty else _diff(target, wanted, frozenset(kept)),
        model=model,
        card=text,
        message=options.commit_message or _message(model, case),
        description=_description(public(model), report),
        options=options,
    )
    if options.tag in target.tags and (operations or target.tags[str(options.tag)] != target.head):
        raise PublishError(
            f"{repo_id} has a tag {options.tag!r} already, at {target.tags[str(options.tag)][:7]}.",
            "Choose another --tag.",
        )
    return plan


def with_operations(plan: PublishPlan, operations: tuple[Operation, ...], note: str) -> PublishPlan:
    """The same plan on another way."""
    return replace(plan, operations=operations, notes=(*plan.notes, note))


def _card(model: PatchedModel, report: Report | None, repo_id: str, tag: str | None) -> str:
    """The card to publish: written anew for its place, unless somebody edited the one in the folder."""
    path = model.folder / CARD
    return cards.render(public(model), report, repo_id, tag) if cards.is_ours(path) else path.read_text("utf-8")


def _check_target(model: PatchedModel, target: Target, options: PublishOptions) -> None:
    if options.private and target.private is False:
        raise PublishError(
            f"{target.repo_id} exists and is public; --private is for a new repository.",
            "Make it private in its settings first, or leave out --private.",
        )
    if not target.empty and not target.is_ours(model) and not options.force:
        what = "a patched model of another source" if target.record else "something else"
        raise PublishError(
            f"{target.repo_id} holds {what}; it was left as it is.",
            "Choose another name, or add --force to replace it.",
        )


def _kept(target: Target, wanted: tuple[Piece, ...], options: PublishOptions) -> dict[str, str]:
    there = target.texts.get(CARD)
    if there is None or options.replace_card or cards.is_sealed(there.decode("utf-8", "replace")):
        return {}
    same = any(piece.path == CARD and piece.equals(target.files[CARD]) for piece in wanted)
    return {} if same else {CARD: "edited by hand; --replace-card writes it anew"}


def _diff(target: Target, wanted: tuple[Piece, ...], kept: frozenset[str]) -> str:
    """The card and the code at the target against what would stand there."""
    parts: list[str] = []
    for piece in wanted:
        if piece.path in kept or not (piece.path == CARD or piece.path.endswith(".py")):
            continue
        before = target.texts.get(piece.path, b"").decode("utf-8", "replace").splitlines(True)
        after = piece.read().decode("utf-8", "replace").splitlines(True)
        parts += unified_diff(before, after, f"a/{piece.path}", f"b/{piece.path}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in parts)


def _message(model: PatchedModel, case: str) -> str:
    what = model.source.repo_id or public(model).source.path
    how = "without the logit cap" if model.soft_cap else "repaired for transformers 5"
    return f"Update {what} {how}" if case == UPDATE else f"Publish {what} {how}"


def _description(model: PatchedModel, report: Report | None) -> str:
    """The body of the commit, and of a pull request: the way from the source, the checks and the diff."""
    cap = model.soft_cap
    what = f"Removed: `{cap.expression}` at line {cap.line} of `{cap.file}`." if cap else "The cap stays."
    how = "converted from pickles, tensor by tensor" if model.converted else "byte for byte"
    lines = [f"Source: {model.source}. {what} The weights are those of the source, {how}.", ""]
    if report is None:
        lines += ["Not verified: the model was not run.", ""]
    else:
        lines += ["| check | passed | detail |", "|---|---|---|"]
        lines += [f"| `{c.name}` | {'yes' if c.passed else '**no**'} | {c.detail} |" for c in report.checks] + [""]
    diff = model.diff.rstrip("\n")
    cut = diff if len(diff) <= _LONGEST_DIFF else diff[:_LONGEST_DIFF].rpartition("\n")[0] + "\n(shortened)"
    return "\n".join([*lines, "````diff", cut, "````", ""])
