"""The repairs alone reach the source as a pull request: the repaired code, and not a byte more."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.hub import LocalHub, RequestRecord
from tests.publish.conftest import NUMBERS
from tests.publish.tools import MODELING, Outcome, Patcher, hub_files, passing_report, source_files, writes

CODE, CONFIGURATION = "modeling_gptbert.py", "configuration_gptbert.py"
WORDS = ("--create-pr", "--repairs-only")


@pytest.fixture
def source(hub: LocalHub) -> str:
    """A model of somebody else that no other test uses."""
    name = f"ltg/repaired-{next(NUMBERS)}"
    hub.create_repo(name, source_files(b"weights"))
    return name


def patch(patcher: Patcher, source: str, out: Path, *words: str) -> Path:
    done = patcher("patch", source, "--out", out, "--no-verify", "--quiet", *words)
    assert done.code == 0, done.err
    passing_report(out)
    return out


@pytest.fixture
def repaired(patcher: Patcher, source: str, tmp_path: Path) -> Path:
    done = patcher("repair", source, "--out", tmp_path / "repaired", "--no-verify", "--quiet")
    assert done.code == 0, done.err
    passing_report(tmp_path / "repaired")
    return tmp_path / "repaired"


def send(patcher: Patcher, folder: Path, repo_id: str, *words: str) -> Outcome:
    return patcher("publish", folder, repo_id, "--yes", *(words or (*WORDS, "--json")))


def test_a_pull_request_to_the_source_changes_the_repaired_code_and_nothing_else(
    hub: LocalHub, patcher: Patcher, source: str, repaired: Path
) -> None:
    head, before = hub.head(source), hub_files(hub, source)
    hub.reset_counters()
    done = send(patcher, repaired, source)
    assert done.code == 0 and done.data["passed"] and done.data["pull_request"] == 1, done.err
    assert hub.head(source) == head and hub_files(hub, source) == before
    assert hub.counters.uploaded < 20_000 and hub.counters.xet_stored == 0
    after = hub_files(hub, source, "refs/pr/1")
    for path in (CODE, CONFIGURATION):
        assert after.pop(path) == (repaired / path).read_bytes() != before.pop(path)
    assert after == before and b"sigmoid" in hub.read(source, CODE, "refs/pr/1")
    findings = {one["name"]: one["passed"] for one in done.data["findings"]}
    assert findings["small_files_equal"] and findings["kept_files_untouched"] and "card_understood" not in findings
    assert done.data["plan"]["case"] == "repair" and done.data["plan"]["parent_commit"] == head


def test_the_pull_request_says_why_and_shows_the_diff(
    hub: LocalHub, patcher: Patcher, source: str, repaired: Path
) -> None:
    assert send(patcher, repaired, source).code == 0
    found = hub.pull_requests(source)[0]
    said = hub.commits(source, "refs/pr/1")[0].message
    assert found.title == "Repair the code for transformers 5" and found.author == "ola"
    assert "https://github.com/huggingface/transformers/issues/48892" in said
    assert "`_tied_weights_keys` is no longer a list" in said and "`relu_sparsity` | yes" in said
    assert "-    _tied_weights_keys = " in said and f"`{hub.head(source)}`" in said
    assert "cap on the logits" in said and "Removed" not in said


def test_a_dry_run_shows_it_and_writes_nothing(hub: LocalHub, patcher: Patcher, source: str, repaired: Path) -> None:
    hub.reset_counters()
    done = patcher("publish", repaired, source, *WORDS, "--dry-run")
    assert done.code == 0 and writes(hub) == [], done.err
    assert f"a pull request on {source}, public, the repaired code alone" in done.out
    assert "-    _tied_weights_keys = " in done.out and "not touched by the repairs" in done.out


def test_a_record_with_the_earlier_name_of_a_repair_is_one_of_repairs(
    patcher: Patcher, source: str, repaired: Path
) -> None:
    record = (repaired / "patch.json").read_text("utf-8")
    (repaired / "patch.json").write_text(record.replace('"computed_buffers"', '"rotary_tables"'), "utf-8")
    passing_report(repaired)
    assert "rotary_tables" in (repaired / "patch.json").read_text("utf-8")
    assert send(patcher, repaired, source, "--repairs-only", "--create-pr", "--dry-run").code == 0


def test_a_second_run_opens_no_second_pull_request(
    hub: LocalHub, patcher: Patcher, source: str, repaired: Path
) -> None:
    hub.faults.lose_answer("POST", "/commit/main")
    first = send(patcher, repaired, source)
    assert first.code == 0 and first.data["case"] == "landed", first.err
    again = send(patcher, repaired, source)
    assert again.code == 0 and again.data["case"] == "nothing to do", again.err
    assert again.data["commit"] == first.data["commit"] and len(hub.pull_requests(source)) == 1


def test_where_the_repairs_were_merged_there_is_nothing_to_do(
    hub: LocalHub, patcher: Patcher, source: str, repaired: Path
) -> None:
    merged = hub.commit(source, {path: (repaired / path).read_bytes() for path in (CODE, CONFIGURATION)}, user="ltg")
    done = send(patcher, repaired, source)
    assert done.code == 0 and done.data["case"] == "nothing to do" and done.data["commit"] == merged, done.err


def test_a_source_that_went_on_elsewhere_is_repaired_at_its_head(
    hub: LocalHub, patcher: Patcher, source: str, repaired: Path
) -> None:
    head = hub.commit(source, {"README.md": b"# A new card\n", "added.txt": b"x"}, user="ltg")
    done = send(patcher, repaired, source)
    assert done.code == 0 and done.data["plan"]["parent_commit"] == head, done.err
    assert hub.read(source, "README.md", "refs/pr/1") == b"# A new card\n"


def test_a_source_whose_code_moved_on_is_refused(hub: LocalHub, patcher: Patcher, source: str, repaired: Path) -> None:
    hub.commit(source, {CODE: MODELING + b"\nx = 1\n"}, user="ltg")
    done = send(patcher, repaired, source)
    assert done.code == 3 and f"{CODE} of {source} has changed since" in done.err and "--codemod repairs" in done.err
    assert hub.pull_requests(source) == []


@pytest.mark.parametrize(
    "words", [(), ("--codemod", "repairs", "--codemod", "soft_cap"), ("--codemod", "checkpointing")]
)
def test_a_folder_with_more_than_the_repairs_is_refused(
    hub: LocalHub, patcher: Patcher, source: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    hub.commit(source, {CODE: MODELING + CHECKPOINT})
    folder = patch(patcher, source, tmp_path / "out", *words)
    hub.reset_counters()
    done = send(patcher, folder, source)
    assert done.code == 3 and "has more than the repairs" in done.err and "nothing was written" in done.err
    assert f"`patcher patch {source} --codemod repairs --out DIR`" in done.err and hub.requests == []


CHECKPOINT = b"""
    def layers(self, layer, x):
        return torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=True)
"""


def test_it_is_a_pull_request_or_nothing(hub: LocalHub, patcher: Patcher, source: str, repaired: Path) -> None:
    hub.reset_counters()
    for words, why in (
        (("--repairs-only",), "Add --create-pr"),
        ((*WORDS, "--tag", "v1"), "neither a tag"),
    ):
        done = send(patcher, repaired, source, *words)
        assert done.code == 2 and why in done.err, done.err
    done = send(patcher, repaired, "ola/elsewhere")
    assert done.code == 2 and f"was made from {source}, not from ola/elsewhere" in done.err
    assert f"Use {source} as REPO_ID" in done.err and hub.requests == []


def test_a_folder_that_changed_or_was_not_verified_is_refused(
    hub: LocalHub, patcher: Patcher, source: str, repaired: Path
) -> None:
    (repaired / "report.json").rename(repaired / "kept.json")
    done = send(patcher, repaired, source)
    assert done.code == 3 and "was never verified" in done.err
    (repaired / "kept.json").rename(repaired / "report.json")
    (repaired / CODE).write_bytes(b"x = 1\n")
    done = send(patcher, repaired, source)
    assert done.code == 3 and "is no longer the file" in done.err and hub.pull_requests(source) == []


def test_a_source_that_needed_no_repair_gets_none(hub: LocalHub, patcher: Patcher, source: str, repaired: Path) -> None:
    record = json.loads((repaired / "patch.json").read_text("utf-8"))
    for one in record["codemods"]:
        one["status"], one["edits"] = "not_needed", []
    (repaired / "patch.json").write_text(json.dumps(record), "utf-8")
    done = send(patcher, repaired, source)
    assert done.code == 3 and "needed no repairs" in done.err


def test_repairs_without_a_record_to_check_lead_to_their_page(
    hub: LocalHub, patcher: Patcher, source: str, repaired: Path
) -> None:
    page = f"page: {hub.endpoint}/{source}/discussions/1"
    for words in (("--yes",), ("--yes",), ("--dry-run",)):
        done = patcher("publish", repaired, source, *WORDS, *words)
        assert done.code == 0 and done.err.splitlines()[-1] == page and "patcher check" not in done.err, done.err


def test_repairs_that_could_not_be_read_back_are_read_by_the_same_command(
    hub: LocalHub, patcher: Patcher, source: str, repaired: Path
) -> None:
    def interrupt(request: RequestRecord, phase: str) -> None:
        if "/tree/" in request.path and hub.pull_requests(source):
            hub.on_request = None
            os.kill(patcher.last_pid, signal.SIGINT)

    hub.on_request = interrupt
    done = send(patcher, repaired, source)
    assert done.code == 130 and "was not read back.\nHint: Run the same command again." in done.err, done.err
    again = send(patcher, repaired, source)
    assert again.code == 0 and again.data["passed"] and again.data["case"] == "nothing to do", again.err
