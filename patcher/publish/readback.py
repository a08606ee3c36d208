"""Reads a publication back and compares it with the plan; does not trust the answer to the commit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from huggingface_hub import ModelCardData

from patcher.constants import CARD
from patcher.publish.hub import Hub
from patcher.publish.plan import PublishPlan
from patcher.source.metadata import read_metadata

_KEYS = ("license", "license_name", "license_link", "language", "base_model", "library_name", "pipeline_tag", "tags")


@dataclass(frozen=True)
class Finding:
    """One thing that was checked. `passed` is None where it could not be checked; `detail` says what was found."""

    name: str
    passed: bool | None
    detail: str


def read_back(plan: PublishPlan, commit: str, hub: Hub) -> tuple[Finding, ...]:
    """Check the target at that commit: its files, their hashes, and the card as the Hub parsed it."""
    listed = hub.files(plan.repo_id, commit)
    there = [file for file in plan.wanted if file.path in listed]
    missing = [file.path for file in plan.wanted if file.path not in listed]
    sizes = [file.path for file in there if listed[file.path].size != file.size]
    large = [file for file in there if listed[file.path].sha256 is not None]
    small = [file for file in there if listed[file.path].sha256 is None]
    other = [file.path for file in large if listed[file.path].sha256 != file.sha256]
    content = hub.read(plan.repo_id, commit, [file.path for file in small])
    damaged = [file.path for file in small if hashlib.sha256(content[file.path]).hexdigest() != file.sha256]
    kept = [path for path in plan.kept if path in plan.target.files and listed.get(path) != plan.target.files[path]]
    return (
        finding("files_there", [*missing, *sizes], f"{len(plan.wanted)} files with their sizes"),
        finding("large_files_equal", other, f"{len(large)} by the SHA-256 that the Hub lists"),
        finding("small_files_equal", damaged, f"{len(small)} downloaded again and hashed"),
        *([finding("kept_files_untouched", kept, f"{len(plan.kept)} files")] if plan.kept else []),
        _card(plan, commit, hub),
    )


def finding(name: str, wrong: list[str], fine: str) -> Finding:
    """Passed where `wrong` is empty; otherwise the detail names what is in it."""
    return Finding(name, not wrong, f"mismatch: {', '.join(wrong)}" if wrong else fine)


def _card(plan: PublishPlan, commit: str, hub: Hub) -> Finding:
    """Whether the Hub parsed the metadata of the card as written."""
    info = hub.call_with_retry(lambda: hub.api.model_info(plan.repo_id, revision=commit))
    parsed = info.card_data.to_dict() if info.card_data is not None else {}  # type: ignore[no-untyped-call]
    text = plan.target.texts.get(CARD, b"").decode("utf-8", "replace") if CARD in plan.kept else plan.card
    written = {key: value for key, value in read_metadata(text).items() if key in _KEYS}
    expected = ModelCardData(**written).to_dict()  # type: ignore[no-untyped-call]  # as the client normalizes it
    wrong = [key for key in _KEYS if parsed.get(key) != expected.get(key)]
    fine = ", ".join(f"{key} {expected[key]}" for key in ("license", "base_model") if key in expected)
    return finding("card_understood", wrong, fine)
