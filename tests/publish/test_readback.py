"""A publication is read back, and what arrived otherwise is named."""

from __future__ import annotations

from pathlib import Path

from patcher.publish.readback import Finding, finding
from tests.hub import LocalHub
from tests.publish.tools import Patcher


def test_what_the_hub_damaged_is_noticed_when_it_is_read_back(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    def damage(request: object, phase: str) -> None:
        if phase == "after" and getattr(request, "path", "").endswith("/commit/main"):
            commit = hub.commits(repo_id)[0]
            commit.tree["tokenizer.json"] = hub._state.store.regular(b"{}")  # type: ignore[index]
            commit.tree["config.json"] = hub._state.store.regular((folder / "config.json").read_bytes()[::-1])  # type: ignore[index]

    hub.on_request = damage
    done = patcher("publish", folder, repo_id, "--yes", "--json")
    failed = {one["name"]: one["detail"] for one in done.data["findings"] if not one["passed"]}
    assert done.code == 1 and not done.data["passed"]
    assert "tokenizer.json" in failed["files_there"] and "config.json" in failed["small_files_equal"]


def test_a_finding_names_what_differs_and_passes_where_nothing_does() -> None:
    assert finding("files_equal", [], "3 files") == Finding("files_equal", True, "3 files")
    assert finding("files_equal", ["a", "b"], "3 files") == Finding("files_equal", False, "mismatch: a, b")
