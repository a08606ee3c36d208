"""What is read back after a commit: by the hashes that the Hub lists, and open where the Hub is not done yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub import LocalHub
from tests.publish.tools import Patcher


@pytest.mark.parametrize(("answers", "passed"), [(1, True), (9, None)])
def test_a_card_that_the_hub_has_not_parsed_yet_leaves_its_finding_open(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str, answers: int, passed: bool | None
) -> None:
    hub.leave_cards_unparsed(answers)
    done = patcher("publish", folder, repo_id, "--yes", "--json")
    assert done.code == 0 and done.data["passed"], done.err
    (found,) = [one for one in done.data["findings"] if one["name"] == "card_understood"]
    assert found["passed"] is passed
    hub.leave_cards_unparsed(answers)
    assert patcher("publish", folder, repo_id, "--yes", "-q").code == 0


def test_what_the_hub_damaged_is_noticed_when_it_is_read_back(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    def damage(request: object, phase: str) -> None:
        if phase == "after" and getattr(request, "path", "").endswith("/commit/main"):
            commit = hub.commits(repo_id)[0]
            commit.tree["tokenizer.json"] = hub._state.store.regular(b"{}")  # type: ignore[index]
            commit.tree["more.txt"] = hub._state.store.regular(b"{}")  # type: ignore[index]
            commit.tree["config.json"] = hub._state.store.regular((folder / "config.json").read_bytes()[::-1])  # type: ignore[index]

    hub.on_request = damage
    done = patcher("publish", folder, repo_id, "--yes", "--json")
    failed = {one["name"]: one["detail"] for one in done.data["findings"] if not one["passed"]}
    assert done.code == 1 and not done.data["passed"]
    assert failed["files_there"] == "mismatch: tokenizer.json, more.txt"
    assert "config.json" in failed["small_files_equal"]
    hub.on_request = None
    hub.commit(repo_id, {"more.txt": None})
    full = patcher("publish", folder, repo_id, "--yes", "--json", "--read-back", "full")
    assert full.code == 0 and "downloaded again" in str(full.data["findings"])
