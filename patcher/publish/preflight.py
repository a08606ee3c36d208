"""Refuses what can be refused before anything is written: the folder, the account, the target."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from huggingface_hub import get_token, parse_hf_uri
from huggingface_hub.errors import HfUriError, HFValidationError

from patcher.constants import RECORD, REPORT
from patcher.errors import AccessDenied, PublishError, UsageError
from patcher.hashing import git_blob_id, sha256_of
from patcher.patching.record import PatchedModel
from patcher.publish.hub import Entry, Hub
from patcher.publish.operations import Origin, not_verified
from patcher.publish.target import Target
from patcher.source.hub_errors import explained, from_hub, status_of
from patcher.source.metadata import read_metadata
from patcher.verify.report import Report


@dataclass(frozen=True)
class Account:
    """The account that publishes, and the namespaces that it may write to: its own and those of organisations."""

    name: str
    namespaces: frozenset[str]


def check_names(repo_id: str, branch: str | None) -> None:
    """Refuse an invalid name and a revision that is not a branch. Raises UsageError."""
    try:
        plain = parse_hf_uri(f"hf://{repo_id}").id == repo_id and repo_id.count("/") == 1
    except (HfUriError, HFValidationError):
        plain = False
    if not plain:
        raise UsageError(f"{repo_id!r} can't be the id of a repository.", "Give namespace/name.")
    if branch is not None and (branch.startswith("refs/") or re.fullmatch(r"[0-9a-f]{40}", branch)):
        raise UsageError(f"{branch!r} is not a branch.", "Give the name of a branch, or --create-pr.")


def check_not_source(model: PatchedModel, repo_id: str) -> None:
    """Refuse to publish over the source itself. Raises PublishError."""
    if model.source.repo_id is not None and repo_id.lower() == model.source.repo_id.lower():
        raise PublishError(
            f"{repo_id} is the source of this model.", "Publish under another name; --repairs-only sends it repairs."
        )


def check_report(model: PatchedModel, report: Report | None, *, unverified: bool) -> None:
    """Refuse a folder that was not verified, did not pass, or has changed since it was verified.

    Every hash is computed anew. Raises PublishError.
    """
    again = f"Run `patcher verify {model.folder}` and publish after that."
    if report is None and not unverified:
        raise PublishError(
            f"{model.folder} was never verified: it has no {REPORT}.",
            "Add --unverified: the card will say so." if model.code_only else again,
        )
    if report is not None and not report.passed:
        failed = ", ".join(check.name for check in report.failed)
        raise PublishError(f"{model.folder} did not pass its verification ({failed or 'no checks'}).", again)
    for file in model.files:
        path = model.folder / file.path
        if path.is_file() and sha256_of(path) != file.after:
            raise PublishError(
                f"{file.path} is no longer the file that {RECORD} records.",
                "Make the folder again with `patcher patch`.",
            )
        if not path.is_file() and not file.path.endswith(".safetensors"):
            raise PublishError(f"{file.path} is missing from {model.folder}.", "Make it again with `patcher patch`.")
    if report is None:
        return
    differs = not_verified(model, report, model.folder / RECORD)
    if differs or report.source != model.source:
        raise PublishError(
            f"{REPORT} is about other bytes than those in {model.folder} ({', '.join(differs) or 'another source'}).",
            again,
        )


def check_licence(model: PatchedModel, card: str) -> None:
    """Refuse a card without the licence of the source. Raises PublishError."""
    wanted = model.base_card.get("license")
    found = read_metadata(card).get("license")
    if wanted is not None and found != wanted:
        raise PublishError(
            f"The source is under {wanted!r} and the card says {found!r}.",
            f"Write `license: {wanted}` into README.md, or run `patcher card {model.folder}`.",
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
            f"The token of {name} can only read.",
            "Create one that can write on https://huggingface.co/settings/tokens.",
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
                f"{namespace} is neither the account {account.name} nor an organisation in which it may write.",
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
            f"{account.name} may not write to {target.repo_id}.", "Use another token, or add --create-pr."
        ) from error


def find_origin(hub: Hub, model: PatchedModel, *, upload_weights: bool) -> Origin:
    """The large files that the Hub can copy from the source, or the reason why it can't.

    Raises PublishError where the folder was not made from the files that the Hub lists for the source.
    """
    repo_id, revision = model.source.repo_id, model.source.revision
    if repo_id is None:
        return Origin({}, "the source is a folder")
    try:
        listed = hub.files(repo_id, str(revision))
    except Exception as error:
        return Origin({}, from_hub(error, repo_id, revision).message.rstrip("."))
    check_source(model, listed)
    if upload_weights:
        return Origin({}, "--upload-weights was given")
    large = {path: entry for path, entry in listed.items() if entry.sha256 is not None}
    files = {path: entry for path, entry in large.items() if entry.xet_hash is not None}
    without = [path for path in large if path not in files and model.file(path) is not None]
    if without:
        return Origin(files, f"{without[0]} has no Xet hash at the source")
    return Origin(files, None if files else "the source lists no large files")


def check_source(model: PatchedModel, listed: Mapping[str, Entry]) -> None:
    """Refuse a folder that was made from other files than those that the Hub lists for its source.

    Raises PublishError.
    """
    for file in model.files:
        entry, content = listed.get(file.source_path), model.originals.get(file.source_path)
        if entry is not None and entry.sha256 is not None:
            same = file.before == entry.sha256
        elif content is not None or file.action == "copied":
            made_of = model.folder / file.path if content is None else content
            same = entry is not None and git_blob_id(made_of) == entry.blob_id
        else:
            continue
        if not same:
            raise PublishError(
                f"{file.source_path} is not the file that the Hub lists for {model.source}.",
                "The folder was made from a changed copy: make it again with `patcher patch`, which finds that copy.",
            )
