"""Checks that a commit is on the Hub as it was planned; does not trust the answer to the commit."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCardData
from huggingface_hub.hf_api import ModelInfo

from patcher.constants import CARD
from patcher.publish.findings import Finding, counted, finding
from patcher.publish.hub import Hub
from patcher.publish.plan import PublishPlan
from patcher.publish.target import NOT_PUBLISHED
from patcher.source.metadata import read_metadata

_KEYS = ("license", "license_name", "license_link", "language", "base_model", "library_name", "pipeline_tag", "tags")
# The Hub parses a card after the commit: it is asked this often, this many seconds apart.
_TRIES, _INTERVAL = 3, 1.0


def read_back(plan: PublishPlan, commit: str, revision: str, hub: Hub, *, full: bool = False) -> tuple[Finding, ...]:
    """Check that `revision` of the target has the commit; check its files, hashes and the card as the Hub parsed it.

    No file may be there that the plan does not know. Small files are compared by git's hash, which the Hub lists; with
    `full` they are downloaded again as well.
    """
    info = hub.info(plan.repo_id, revision)
    if info.sha != commit and commit not in (one.commit_id for one in _history(hub, plan.repo_id, revision)):
        elsewhere = [f"{revision} does not have it"]
    else:
        elsewhere = []
    listed = hub.files(plan.repo_id, commit, info)
    there = [file for file in plan.wanted if file.path in listed]
    missing = [file.path for file in plan.wanted if file.path not in listed]
    more = [path for path in listed if path not in {*plan.kept, *NOT_PUBLISHED, *(file.path for file in plan.wanted)}]
    sizes = [file.path for file in there if listed[file.path].size != file.size]
    large = [file for file in there if listed[file.path].sha256 is not None]
    small = [file for file in there if listed[file.path].sha256 is None]
    other = [file.path for file in large if listed[file.path].sha256 != file.sha256]
    if full:
        content = hub.read(plan.repo_id, commit, [file.path for file in small])
        damaged = [file.path for file in small if hashlib.sha256(content[file.path]).hexdigest() != file.sha256]
    else:
        damaged = [file.path for file in small if not file.equals(listed[file.path])]
    how = "downloaded again and hashed" if full else "by the git hash that the Hub lists"
    kept = [path for path in plan.kept if path in plan.target.files and listed.get(path) != plan.target.files[path]]
    return (
        finding("commit_there", elsewhere, f"{commit[:7]} in {revision}"),
        finding("files_there", [*missing, *sizes, *more], f"{counted(len(plan.wanted))} with their sizes"),
        finding("large_files_equal", other, f"{len(large)} by the SHA-256 that the Hub lists"),
        finding("small_files_equal", damaged, f"{len(small)} {how}"),
        *([finding("kept_files_untouched", kept, counted(len(plan.kept)))] if plan.kept else []),
        *(() if plan.options.repairs_only else (_card(plan, commit, info, hub),)),
    )


def _history(hub: Hub, repo_id: str, revision: str) -> list[Any]:
    return hub.call_with_retry(lambda: list(hub.api.list_repo_commits(repo_id, revision=revision)))


def _card(plan: PublishPlan, commit: str, info: ModelInfo, hub: Hub) -> Finding:
    """Whether the Hub parsed the metadata of the card as written; open where it has not parsed it yet."""
    text = plan.target.texts.get(CARD, b"").decode("utf-8", "replace") if CARD in plan.kept else plan.card
    written = {key: value for key, value in read_metadata(text).items() if key in _KEYS}
    expected = ModelCardData(**written).to_dict()  # type: ignore[no-untyped-call]  # as the client normalizes it
    parsed: Mapping[str, Any] | None = None
    for turn in range(_TRIES):
        if turn:
            time.sleep(_INTERVAL)
        if turn or info.sha != commit:
            info = hub.info(plan.repo_id, commit)
        parsed = info.card_data.to_dict() if info.card_data is not None else None  # type: ignore[no-untyped-call]
        if parsed or not expected:
            break
    if not parsed and expected:
        return Finding("card_understood", None, f"the Hub has not parsed the metadata of {CARD} yet")
    wrong = [key for key in _KEYS if (parsed or {}).get(key) != expected.get(key)]
    fine = ", ".join(f"{key} {expected[key]}" for key in ("license", "base_model") if key in expected)
    return finding("card_understood", wrong, fine)
