"""Refuses what can be refused before anything is written: the folder, the account, the target."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from huggingface_hub import get_token, parse_hf_uri
from huggingface_hub.errors import HfUriError, HFValidationError
from huggingface_hub.hf_api import ModelInfo

from patcher.constants import RECORD, REPORT
from patcher.errors import AccessDenied, PatcherError, PublishError, UsageError, see
from patcher.hashing import git_blob_id, sha256_of
from patcher.patching.record import FileRecord, PatchedModel
from patcher.publish.hub import Entry, Hub
from patcher.publish.operations import GATED, OPEN, PRIVATE, UNKNOWN, Origin, not_verified
from patcher.publish.publishable import MADE, Publishable, is_large
from patcher.publish.target import MAIN, Target
from patcher.source.hub_errors import explained, from_hub, status_of
from patcher.source.metadata import read_metadata
from patcher.verify.report import Report


@dataclass(frozen=True)
class Account:
    """The account that publishes, and the namespaces that it may write to: its own and those of organisations."""

    name: str
    namespaces: frozenset[str]


# What `git check-ref-format` refuses.
_NO_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|^[-/.]|(?:[/.]|\.lock)$|^(?:@|HEAD)?$")


def check_names(repo_id: str, branch: str | None, tag: str | None = None) -> None:
    """Refuse an invalid name, and a revision that is not a branch. Raises UsageError."""
    try:
        plain = parse_hf_uri(f"hf://{repo_id}").id == repo_id and repo_id.count("/") == 1
    except (HfUriError, HFValidationError):
        plain = False
    if not plain:
        raise UsageError(f"{repo_id!r} is not a valid repo id.", "Use namespace/name.")
    if branch is not None and (branch.startswith("refs/") or re.fullmatch(r"[0-9a-f]{40}", branch)):
        raise UsageError(f"{branch!r} is not a branch.", "Use the name of a branch, or --create-pr.")
    for name, option in ((branch, "--revision"), (tag, "--tag")):
        if name is not None and _NO_REF.search(name):
            raise UsageError(f"{name!r} is not a valid branch or tag name.", f"Use another {option}, such as v1.")
    if tag is not None and tag == (branch or MAIN):  # which of the two a revision then means is anybody's guess
        raise UsageError(f"{tag!r} is the branch that gets the commit.", "Use another --tag, such as v1.")


def check_not_source(item: Publishable, repo_id: str) -> None:
    """Refuse to publish over the source itself. Raises PublishError."""
    if item.source.repo_id is not None and repo_id.lower() == item.source.repo_id.lower():
        raise PublishError(
            f"{repo_id} is the source of this model.", "Publish under another name; --repairs-only sends it repairs."
        )


def check_report(item: Publishable, report: Report | None, *, unverified: bool) -> None:
    """Refuse a folder that was not verified, did not pass, or has changed since it was verified.

    Hashes all but the weights, which only their upload needs. Raises PublishError.
    """
    if item.model is not None:
        _check_verified(item.model, report, unverified=unverified)
    elif not item.passed:
        raise PublishError(
            f"{item.folder} did not pass its checks, according to {item.record}.", f"Use {item.again} again."
        )
    check_files(item, [file for file in item.files if not is_large(file)])
    if item.model is not None and report is not None:
        differs = not_verified(item.model, report, item.folder / RECORD)
        if differs or report.source != item.source:
            raise PublishError(
                f"{REPORT} does not match the files in {item.folder} ({', '.join(differs) or 'another source'}).",
                f"Run `patcher verify {item.folder}` and publish after that.",
            )


def check_files(item: Publishable, files: Iterable[FileRecord]) -> None:
    """Refuse files that are lost or are not those that the record names; hashes them. Raises PublishError."""
    for file in files:
        path = item.folder / file.path
        if path.is_file() and sha256_of(path) != file.after:
            raise PublishError(
                f"{file.path} is no longer the file that {item.record} records.",
                f"Make the folder again with {item.again}.",
            )
        if not path.is_file() and not is_large(file):
            raise PublishError(f"{file.path} is missing from {item.folder}.", f"Make it again with {item.again}.")


def _check_verified(model: PatchedModel, report: Report | None, *, unverified: bool) -> None:
    again = f"Run `patcher verify {model.folder}` and publish after that."
    if report is None and not unverified:
        raise PublishError(
            f"{model.folder} was never verified: it has no {REPORT}.",
            "Add --unverified: the card will say so." if model.code_only else again,
        )
    if report is not None and not report.passed:
        failed = ", ".join(check.name for check in report.failed)
        raise PublishError(f"{model.folder} did not pass its verification ({failed or 'no checks'}).", again)


def check_licence(item: Publishable, card: str) -> None:
    """Refuse a card without the licence of the source. Raises PublishError."""
    wanted = item.base_card.get("license")
    found = read_metadata(card).get("license")
    if found is None and item.base_card.get("unreadable"):
        raise PublishError(
            "The licence of the source is not known: the metadata of its card can't be read.",
            "Look it up there and write `license: ...` into the metadata of README.md." + see("licence"),
        )
    if wanted is not None and found != wanted:
        raise PublishError(
            f"The source's licence is {wanted!r}, but the card says {found!r}.",
            f"Write `license: {wanted}` into README.md, or run `patcher card {item.folder}`." + see("licence"),
        )


def get_account(hub: Hub) -> Account:
    """The account behind the token. Raises AccessDenied where there is none, or its token can only read."""
    if get_token() is None:
        raise AccessDenied("No token: publishing needs an account on the Hub.", "Run `hf auth login`, or set HF_TOKEN.")
    with explained("the Hub"):
        answer = hub.call_with_retry(hub.api.whoami)
        name = str(answer["name"])
        token = (answer.get("auth") or {}).get("accessToken") or {}
        organisations = [str(org["name"]) for org in answer.get("orgs") or [] if org.get("roleInOrg") != "read"]
    if token.get("role") == "read":
        raise AccessDenied(
            f"The token of {name} is read-only.",
            "Create a write token at https://huggingface.co/settings/tokens.",
        )
    return Account(name, frozenset({name, *organisations}))


def check_access(hub: Hub, account: Account, target: Target, *, create_pr: bool) -> None:
    """Refuse a target that this account can't write to. Raises AccessDenied and PublishError."""
    namespace, name = target.repo_id.split("/")
    if not target.exists:
        if create_pr:
            raise PublishError(f"There is no {target.repo_id} to open a pull request on.", "Leave out --create-pr.")
        if namespace not in account.namespaces:
            raise AccessDenied(
                f"{namespace} is neither the account {account.name} nor an organisation that it can write to.",
                f"Publish to {account.name}/{name}, or use another token.",
            )
        return
    if create_pr:
        return
    try:
        hub.call_with_retry(lambda: hub.api.auth_check(target.repo_id, write=True))
    except Exception as error:
        if status_of(error) != 403:
            raise
        raise AccessDenied(
            f"{account.name} has no write access to {target.repo_id}.", "Use another token, or add --create-pr."
        ) from error


def find_origin(hub: Hub, item: Publishable, *, upload_weights: bool) -> Origin:
    """The large files that the Hub can copy from the source, or the reason why it can't; and who can read it.

    Raises PublishError where the folder was not made from the files that the Hub lists for the source, HubUnreachable
    where it lists them incompletely.
    """
    repo_id, revision = item.source.repo_id, item.source.revision
    info = None
    try:
        info = hub.info(item.origin) if item.origin is not None else None
        listed = hub.files(repo_id, str(revision), info) if repo_id is not None else {}
    except PatcherError:
        raise
    except Exception as error:
        refusal = from_hub(error, repo_id or str(item.origin), revision).message.rstrip(".")
        return Origin({}, refusal, **_terms(item, info))
    terms = _terms(item, info)
    if repo_id is None:
        return Origin({}, "the source is a folder", **terms)
    check_source(item, listed)
    if upload_weights:
        return Origin({}, "--upload-weights was given", **terms)
    large = {path: entry for path, entry in listed.items() if entry.sha256 is not None}
    files = {path: entry for path, entry in large.items() if entry.xet_hash is not None}
    without = [path for path in large if path not in files and item.file(path) is not None]
    if without:
        return Origin(files, f"{without[0]} has no Xet hash at the source", **terms)
    return Origin(files, None if files else "the source lists no large files", **terms)


def _terms(item: Publishable, info: ModelInfo | None) -> dict[str, Any]:
    if info is None:
        return {"access": OPEN if item.origin is None else UNKNOWN, "head": None}
    access = GATED if info.gated else PRIVATE if info.private else OPEN
    return {"access": access, "head": info.sha if item.origin == item.source.repo_id else None}


def check_current(item: Publishable, origin: Origin) -> None:
    """Refuse an export of another revision than the present one of its model. Raises PublishError."""
    if item.fingerprint is not None and origin.head not in (None, item.source.revision):
        raise PublishError(
            f"{item.folder} was exported from {item.source}, and {item.source.repo_id} is at {origin.head} now.",
            f"Export it again: `patcher export {item.source.repo_id} --out {item.folder}`.",
        )


def check_source(item: Publishable, listed: Mapping[str, Entry]) -> None:
    """Refuse a folder that was made from other files than those that the Hub lists for its source.

    Weights that this machine has are held by their recorded hash. Raises PublishError.
    """
    for file in item.files:
        entry, content = listed.get(file.source_path), item.originals.get(file.source_path)
        if file.action == MADE:
            continue
        if entry is not None and entry.sha256 is not None:
            same = file.before == entry.sha256
        elif content is not None or file.action == "copied":
            made_of = item.folder / file.path if content is None else content
            same = entry is not None and git_blob_id(made_of) == entry.blob_id
        else:
            continue
        if not same:
            raise PublishError(
                f"{file.source_path} is not the file that the Hub lists for {item.source}.",
                "The folder was made from a changed copy: make it again with `patcher patch`, which finds that copy."
                + see("changed-copy"),
            )
