"""A copy that the Hub refuses becomes an upload, after saying so and why."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.hub import LocalHub
from tests.publish.tools import SOURCE, Patcher, passing_report, source_files

WEIGHTS = random.Random(5).randbytes(500_000)


def refuse(hub: LocalHub) -> None:
    hub.refuse_duplicate(source=SOURCE, error="objects live in another region")


def gate(hub: LocalHub) -> None:
    hub.repo(SOURCE).gated = "manual"


def fail(hub: LocalHub) -> None:
    hub.faults.status("POST", "/lfs-files/duplicate", 400, times=0)


def hide(hub: LocalHub) -> None:
    hub.repo(SOURCE).private = True


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (refuse, "objects live in another region"),
        (gate, "may not copy from the source"),
        (fail, "it answered 400"),
        (hide, f"No model repository {SOURCE} on the Hub, or it is private"),
    ],
)
def test_a_refused_copy_is_uploaded_and_the_reason_is_said(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str, refusal: object, reason: str
) -> None:
    refusal(hub)  # type: ignore[operator]
    try:
        done = patcher("publish", folder, repo_id, "--yes", "--json")
    finally:
        hub.repo(SOURCE).gated = hub.repo(SOURCE).private = False
    assert done.code == 0, done.err
    assert any(reason in note for note in done.data["plan"]["notes"])
    assert hub.read(repo_id, "model.safetensors") == (folder / "model.safetensors").read_bytes()
    assert len(hub.commits(repo_id)) == 2
    assert done.data["plan"]["bytes_copied"] == 0


def test_weights_without_a_xet_hash_are_planned_as_an_upload(
    hub: LocalHub, patcher: Patcher, tmp_path: Path, repo_id: str
) -> None:
    if not hub.exists("ltg/no-xet"):
        hub.create_repo("ltg/no-xet", source_files(WEIGHTS), xet=False)
    out = tmp_path / "out"
    assert patcher("patch", "ltg/no-xet", "--out", out, "--no-verify", "-q").code == 0
    passing_report(out)
    plan = patcher("publish", out, repo_id, "--dry-run", "--json").data
    assert any("has no Xet hash at the source" in note for note in plan["notes"]) and plan["bytes_copied"] == 0
    assert patcher("publish", out, repo_id, "--yes").code == 0
    assert hub.read(repo_id, "model.safetensors") == WEIGHTS


def test_where_neither_a_copy_nor_an_upload_is_possible_nothing_is_committed(
    hub: LocalHub, patcher: Patcher, tmp_path: Path, repo_id: str
) -> None:
    out = tmp_path / "code"
    assert patcher("patch", SOURCE, "--out", out, "--no-verify", "--code-only", "-q").code == 0
    refuse(hub)
    done = patcher("publish", out, repo_id, "--yes", "--unverified")
    assert done.code == 1 and "objects live in another region" in done.err and "--code-only" in done.err
    assert len(hub.commits(repo_id)) == 1
    hub._state.refusals.clear()
    assert patcher("publish", out, repo_id, "--yes", "--unverified").code == 0
    upload = patcher("publish", out, f"{repo_id}-2", "--yes", "--unverified", "--upload-weights")
    assert upload.code == 1 and "is not in" in upload.err and not hub.exists(f"{repo_id}-2")


def test_the_upload_of_weights_shows_its_progress_to_people_only(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    bars = {"HF_HUB_DISABLE_PROGRESS_BARS": None}
    done = patcher("publish", folder, f"{repo_id}-a", "--yes", "--upload-weights", "--quiet", env=bars)
    assert done.code == 0 and done.err == ""
