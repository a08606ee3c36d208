"""The target of a publication: an open pull request of ours is continued, any other is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub import LocalHub
from tests.publish.tools import Patcher, hub_files


def test_the_commit_goes_to_a_pull_request_that_shows_the_diff_and_the_checks(
    hub: LocalHub, patcher: Patcher, folder: Path, outdated: str
) -> None:
    head = hub.head(outdated)
    done = patcher("publish", folder, outdated, "--yes", "--create-pr", "--json")
    assert done.code == 0, done.err
    (request,) = hub.pull_requests(outdated)
    assert done.data["url"].endswith(f"/{outdated}/discussions/{request.num}")
    assert done.data["pull_request"] == request.num and done.data["commit"] == hub.head(outdated, "refs/pr/1")
    text = str(request.events[0].data)
    assert "relu_sparsity" in text and "+++ b/modeling_gptbert.py" in text
    assert hub.head(outdated) == head
    there = hub_files(hub, outdated, "refs/pr/1")
    assert there["modeling_gptbert.py"] == (folder / "modeling_gptbert.py").read_bytes()


def test_a_repeat_changes_nothing_and_a_change_goes_to_the_same_pull_request(
    hub: LocalHub, patcher: Patcher, folder: Path, outdated: str
) -> None:
    words = ("publish", folder, outdated, "--yes", "--create-pr", "--json")
    assert patcher(*words).code == 0
    head = hub.head(outdated, "refs/pr/1")
    again = patcher(*words)
    assert again.code == 0 and again.data["case"] == "nothing to do" and again.data["pull_request"] == 1
    assert hub.head(outdated, "refs/pr/1") == head
    (folder / "README.md").write_text((folder / "README.md").read_text("utf-8") + "\nmore\n", "utf-8")
    changed = patcher(*words)
    assert changed.code == 0 and changed.data["case"] == "committed" and changed.data["pull_request"] == 1, changed.err
    assert len(hub.pull_requests(outdated)) == 1
    assert hub.commits(outdated, "refs/pr/1")[1].oid == head


def test_a_closed_pull_request_is_not_continued(hub: LocalHub, patcher: Patcher, folder: Path, outdated: str) -> None:
    words = ("publish", folder, outdated, "--yes", "--create-pr", "--json")
    assert patcher(*words).code == 0
    hub.pull_requests(outdated)[0].status = "closed"
    assert patcher(*words).data["pull_request"] == 2


@pytest.mark.parametrize("body", ["[]", "{}", '[{"type": "file", "path": "README.md", "oid": "0", "size": 1}]'])
def test_a_target_that_only_seems_empty_is_not_written_over(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str, body: str
) -> None:
    hub.create_repo(repo_id, {"README.md": b"# Mine\n", "thesis.txt": b"x"})
    head = hub.head(repo_id)
    hub.faults.status("GET", "/tree/", 200, body=body, times=0)
    done = patcher("publish", folder, repo_id, "--yes")
    assert done.code == 3 and f"lists the files of {repo_id} incompletely" in done.err, done.err
    assert hub.head(repo_id) == head


@pytest.mark.parametrize("body", ["{}", "[]", "null", "<html>", '"x"'])
@pytest.mark.parametrize("path", ["/whoami-v2", "/refs", "/api/models/[^/]+/[^/]+$"])
def test_an_answer_that_can_not_be_read_is_told_in_two_lines(
    hub: LocalHub, patcher: Patcher, folder: Path, published: str, path: str, body: str
) -> None:
    hub.faults.status("GET", path, 200, body=body, times=0)
    done = patcher("publish", folder, published, "--yes")
    assert done.code == 3 and "Traceback" not in done.err and "Unexpected" not in done.err, done.err
    assert [line.partition(":")[0] for line in done.err.strip().splitlines()[-2:]] == ["Error", "Hint"]
