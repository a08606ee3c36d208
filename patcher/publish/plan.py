"""The plan of a publication: what one commit would contain and change in the target. Writes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import unified_diff
from pathlib import PurePath

from patcher.codec import json_field
from patcher.constants import CARD
from patcher.documents import card as cards
from patcher.errors import HubUnreachable, PublishError, UsageError
from patcher.patching.record import FileRecord
from patcher.patching.staging import unrecorded
from patcher.printable import one_line
from patcher.publish import preflight, repairs
from patcher.publish.hub import Hub
from patcher.publish.operations import (
    GATED,
    OPEN,
    UNKNOWN,
    Operation,
    Origin,
    PublishedFile,
    decide,
    find_added,
    public,
    published_files,
)
from patcher.publish.publishable import Publishable, is_large
from patcher.publish.target import NOT_PUBLISHED, Target, inspect_target
from patcher.source.hub_errors import explained
from patcher.source.request_limit import time_limit
from patcher.source.retry import RetryPolicy
from patcher.verify.report import Report

NEW, EQUAL, UPDATE, REPLACE, REPAIR = "new", "equal", "update", "replace", "repair"


@dataclass(frozen=True)
class PublishOptions:
    """Options beyond a commit on main. `revision` is a branch, `tag` is put on the commit."""

    private: bool = False
    create_pr: bool = False
    revision: str | None = None
    tag: str | None = None
    commit_message: str | None = None
    upload_weights: bool = False
    force: bool = False
    replace_card: bool = False
    unverified: bool = False
    repairs_only: bool = False
    from_gated: bool = False


@dataclass(frozen=True)
class PublishPlan:
    """What would be committed.

    `case` is new, equal, update (of our own), replace (of another publisher's content, or of ours with files added that
    change what is loaded) or repair (of the source). `kept` maps each file of the target that is left unchanged to the
    reason. `diff` is against the target, or against the source where the target is new. `message` and `description` are
    those of the commit. `access` tells who can read the repository behind the model.
    """

    target: Target = json_field(omit=True)
    account: preflight.Account = json_field(write=lambda account: account.name)
    case: str = json_field()
    operations: tuple[Operation, ...] = json_field()
    files: tuple[PublishedFile, ...] = json_field(omit=True)
    kept: Mapping[str, str] = json_field(write=lambda kept: [{"path": path, "reason": kept[path]} for path in kept])
    notes: tuple[str, ...] = json_field()
    diff: str = json_field()
    item: Publishable = json_field(omit=True)
    card: str = json_field(omit=True)
    message: str = json_field(key="commit_message")
    description: str = json_field(omit=True)
    options: PublishOptions = json_field(omit=True, default=PublishOptions())
    access: str = json_field(omit=True, default=OPEN)

    json_properties = (
        "repo_id",
        "private",
        "target.revision",
        "parent_commit",
        "options.create_pr",
        "options.tag",
        "bytes_uploaded",
        "bytes_copied",
        "gated",
    )

    @property
    def repo_id(self) -> str:
        """The repository that gets the commit."""
        return self.target.repo_id

    @property
    def private(self) -> bool:
        """Whether the repository is private, or will be made so."""
        return self.options.private if self.target.private is None else self.target.private

    @property
    def parent_commit(self) -> str | None:
        """The commit on top of which the new one is put; None where there is no repository yet."""
        return self.target.head

    @property
    def opens_pr(self) -> bool:
        """Whether the commit opens a pull request, because there is none to continue."""
        return self.options.create_pr and self.target.pull_request is None

    @property
    def bytes_uploaded(self) -> int:
        """Bytes that this machine sends."""
        return sum(operation.size for operation in self.operations if operation.op == "upload")

    @property
    def bytes_copied(self) -> int:
        """Bytes that the Hub copies from the source."""
        return sum(operation.size for operation in self.operations if operation.op == "copy")

    @property
    def wanted(self) -> tuple[PublishedFile, ...]:
        """The files of this model that are in the target afterwards, without those that are kept there."""
        return tuple(file for file in self.files if file.path not in self.kept)

    @property
    def gated(self) -> str | None:
        """The repository behind the model, where one has to accept its terms before one can read it."""
        return self.item.origin if self.access == GATED else None

    @property
    def needs_consent(self) -> bool:
        """Whether this would, or for all that is known could, give to everybody what its source gives only to some."""
        return self.access != OPEN and not self.private and not self.options.from_gated and self.case != EQUAL

    @property
    def tag_missing(self) -> bool:
        """Whether the tag has still to be made."""
        return self.options.tag not in (None, *self.target.tags)


def plan_publication(
    item: Publishable,
    report: Report | None,
    repo_id: str,
    *,
    options: PublishOptions = PublishOptions(),
    retry: RetryPolicy = RetryPolicy(),
) -> PublishPlan:
    """Decide what one commit to `repo_id` would contain. Writes nothing, locally or on the Hub.

    Raises UsageError, PublishError, AccessDenied or HubUnreachable where something prevents it.
    """
    make = _plan_repairs if options.repairs_only else _make_plan
    with time_limit(retry.timeout):
        if options.create_pr and (options.tag or options.private):
            raise UsageError("A pull request has neither a tag nor a visibility of its own.", "Leave out --create-pr.")
        preflight.check_names(repo_id, options.revision, options.tag)
        return make(item, report, repo_id, options, Hub(retry))


def check_consent(plan: PublishPlan) -> None:
    """Refuse to publish a gated or private model for everybody unless that was asked for by name.

    Raises PublishError, or HubUnreachable where the Hub did not say who can read the source.
    """
    source, public_target = plan.item.origin, f"{plan.repo_id} would be public."
    if plan.needs_consent and plan.access == UNKNOWN:
        raise HubUnreachable(
            f"The Hub did not say whether {source} is gated or private, and {public_target}",
            "Try again later, or add --private, or --from-gated if its terms allow it.",
        )
    if plan.needs_consent:
        how = "gated behind its terms" if plan.access == GATED else "private"
        raise PublishError(
            f"{source} is {how}, but {public_target}",
            "Add --private, or --from-gated if its owners allow it.",
        )


def _plan_repairs(
    item: Publishable, report: Report | None, repo_id: str, options: PublishOptions, hub: Hub
) -> PublishPlan:
    """A pull request to the source of which every other file is kept."""
    model = repairs.check_repairs(item, repo_id, create_pr=options.create_pr)
    preflight.check_report(item, report, unverified=options.unverified)
    wanted = repairs.repaired_files(model)

    def is_same(hub: Hub, repo_id: str, revision: str) -> bool:
        files = hub.files(repo_id, revision)
        return all(file.equals(files.get(file.path)) for file in wanted)

    account = preflight.get_account(hub)
    with explained(repo_id):
        target = inspect_target(hub, repo_id, options.revision, account.name, is_same)
        preflight.check_access(hub, account, target, create_pr=True)
    repairs.check_not_moved(model, target, wanted)
    kept = dict.fromkeys(sorted(set(target.files) - {file.path for file in wanted}), "not touched by the repairs")
    operations = decide(wanted, target, item, Origin({}), kept, replacing=False)
    return PublishPlan(
        target=target,
        account=account,
        case=REPAIR if operations else EQUAL,
        operations=operations,
        files=wanted,
        kept=kept,
        notes=(),
        diff=model.diff,
        item=item,
        card="",
        message=options.commit_message or "Repair the code for transformers 5",
        description=cards.describe_commit(model, report, repairs_only=True),
        options=options,
    )


def _make_plan(
    item: Publishable, report: Report | None, repo_id: str, options: PublishOptions, hub: Hub
) -> PublishPlan:
    preflight.check_not_source(item, repo_id)
    preflight.check_report(item, report, unverified=options.unverified)
    text = _card(item, report, repo_id, options.tag)
    preflight.check_licence(item, text)
    wanted = published_files(item, report, text, repo_id.rpartition("/")[2])
    account = preflight.get_account(hub)
    with explained(repo_id):
        texts = (file.read() for file in wanted if file.path in {CARD, item.record} or file.path.endswith(".py"))
        author = account.name if options.create_pr else None
        target = inspect_target(hub, repo_id, options.revision, author, contents=texts)
        preflight.check_access(hub, account, target, create_pr=options.create_pr)
        origin = preflight.find_origin(hub, item, upload_weights=options.upload_weights)
    preflight.check_current(item, origin)
    added = find_added(target, item, wanted) if target.is_ours(item) else []
    _check_target(item, target, added, options)
    kept = _kept(target, wanted, options)
    case = NEW if target.empty else UPDATE if target.is_ours(item) and not added else REPLACE
    operations = decide(wanted, target, item, origin, kept, replacing=case == REPLACE)
    preflight.check_files(item, _uploaded(item, operations))
    known = {*(file.path for file in wanted), *(operation.path for operation in operations)}
    others = set(target.files) - known - NOT_PUBLISHED
    plan = PublishPlan(
        target=target,
        account=account,
        case=case if operations else EQUAL,
        operations=operations,
        files=wanted,
        kept={**kept, **{path: "not part of this model" for path in sorted(others)}},
        notes=(),
        diff=item.model.diff if item.model and target.empty else _diff(target, wanted, kept),
        item=item,
        card=text,
        message=options.commit_message or _message(item, case),
        description=cards.describe_commit(public(item.model), report) if item.model else "",
        options=options,
        access=origin.access,
    )
    if options.tag in target.tags and (operations or target.tags[str(options.tag)] != target.head):
        raise PublishError(
            f"{repo_id} has a tag {options.tag!r} already, at {target.tags[str(options.tag)][:7]}.",
            "Choose another --tag.",
        )
    return replace(plan, notes=_notes(plan, origin))


def _card(item: Publishable, report: Report | None, repo_id: str, tag: str | None) -> str:
    """The card, rendered for the target unless it was edited."""
    path = item.folder / CARD
    if item.model is not None and cards.is_ours(path):
        return cards.render(public(item.model), report, repo_id, tag)
    if not path.is_file():
        raise PublishError(f"{item.folder} has no {CARD}.", f"Make it again with {item.again}.")
    text = path.read_text("utf-8")
    return text if item.model is not None else cards.retarget(text, item.folder.resolve().name, repo_id)


def _uploaded(item: Publishable, operations: Collection[Operation]) -> list[FileRecord]:
    """The large files that this machine sends."""
    paths = {operation.path for operation in operations if operation.op == "upload"}
    return [file for file in item.files if file.path in paths and is_large(file)]


def _notes(plan: PublishPlan, origin: Origin) -> tuple[str, ...]:
    item, uploaded = plan.item, [operation.path for operation in plan.operations if operation.op == "upload"]
    extra = unrecorded(item.folder, [item.record, *(file.path for file in item.files)])
    notes = [f"{path} is not in {item.record} and is not published" for path in extra]
    if origin.refusal and item.model and any(path.endswith(".safetensors") for path in uploaded):
        notes.append(f"the weights are uploaded: {origin.refusal}")
    elif any((file := item.file(path)) and file.action == "converted" for path in uploaded):
        notes.append("the weights are uploaded: they were converted here, so the source has no such file to copy")
    if plan.needs_consent:
        known = f"is {plan.access}" if plan.access != UNKNOWN else "may be gated or private, the Hub did not say"
        notes.append(f"{item.origin} {known}: making this public needs --from-gated")
    return tuple(notes)


def without_copies(plan: PublishPlan, reason: str) -> PublishPlan:
    """The same plan with every copy as an upload. Raises PublishError where this machine lacks the bytes."""
    absent = {file.path for file in plan.files if file.content is None}
    changed = []
    for one in plan.operations:
        if one.op == "copy" and one.path in absent:
            raise PublishError(
                f"The Hub would not copy {one.path} ({reason}), and the folder does not hold it.",
                "Run `patcher patch` again without --code-only, then publish that folder.",
            )
        changed.append(replace(one, op="upload", origin="this machine") if one.op == "copy" else one)
    preflight.check_files(plan.item, _uploaded(plan.item, changed))
    return replace(plan, operations=tuple(changed), notes=(*plan.notes, f"the weights are uploaded: {reason}"))


def _check_target(item: Publishable, target: Target, added: Sequence[str], options: PublishOptions) -> None:
    if options.private and target.private is False:
        raise PublishError(
            f"{target.repo_id} exists and is public; --private is for a new repository.",
            "Make it private in its settings first, or leave out --private.",
        )
    if not target.empty and not target.is_ours(item) and not options.force:
        what = "a patched model of another source" if target.record else "something else"
        raise PublishError(
            f"{target.repo_id} holds {what}; it was left unchanged.",
            "Choose another name, or add --force to replace it.",
        )
    if added and not options.force:
        raise PublishError(
            f"{target.repo_id} also holds files that change what is loaded ({', '.join(added[:3])}); "
            "it was left unchanged.",
            f"Remove {'them' if len(added) > 1 else 'it'} there, or add --force.",
        )


def _kept(target: Target, wanted: tuple[PublishedFile, ...], options: PublishOptions) -> dict[str, str]:
    there = target.texts.get(CARD)
    if there is None or options.replace_card or cards.is_sealed(there.decode("utf-8", "replace")):
        return {}
    same = any(file.path == CARD and file.equals(target.files[CARD]) for file in wanted)
    return {} if same else {CARD: "edited by hand; --replace-card replaces it"}


def _diff(target: Target, wanted: tuple[PublishedFile, ...], kept: Collection[str]) -> str:
    """The changes to the card and the code of the target, as a unified diff."""
    parts: list[str] = []
    for file in wanted:
        if file.path not in kept and (file.path == CARD or file.path.endswith(".py")):
            texts = (target.texts.get(file.path, b""), file.read())
            before, after = (text.decode("utf-8", "replace").splitlines(keepends=True) for text in texts)
            parts += unified_diff(before, after, f"a/{file.path}", f"b/{file.path}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in parts)


def _message(item: Publishable, case: str) -> str:
    what = one_line(item.source.repo_id or PurePath(str(item.source.path)).name)
    return f"{'Update' if case == UPDATE else 'Publish'} {what} {item.made}"
