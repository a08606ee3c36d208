"""What is refused before anything is written."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from patcher.codec import json_text, to_json
from patcher.constants import RECORD
from patcher.errors import UsageError
from patcher.hashing import sha256_of
from patcher.patching.record import load
from patcher.publish.preflight import check_names
from patcher.source.metadata import read_metadata
from tests.hub import LocalHub
from tests.hub.fixtures import LESER
from tests.publish.tools import SOURCE, Patcher, passing_report, sealed, source_files, writes


def _edit(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / name).write_text(change((folder / name).read_text("utf-8")), "utf-8")

    return edit


def _without_report(folder: Path) -> None:
    (folder / "report.json").unlink()


def _failed(text: str) -> str:
    report = json.loads(text)
    report["checks"][0]["passed"] = report["passed"] = False
    return sealed(report)


def _about_others(text: str) -> str:
    report = json.loads(text)
    report["files"]["model.safetensors"] = "0" * 64
    return sealed(report)


def _of_another_source(text: str) -> str:
    report = json.loads(text)
    report["source"]["revision"] = "0" * 40
    return sealed(report)


def _handwritten(folder: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: mit\n---\nmine\n", "utf-8")


CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "never verified": (_without_report, "was never verified"),
    "verification failed": (_edit("report.json", _failed), "did not pass its verification (relu_sparsity)"),
    "report about other bytes": (_edit("report.json", _about_others), "does not match the files in"),
    "report about another source": (_edit("report.json", _of_another_source), "another source"),
    "code changed since": (_edit("modeling_gptbert.py", lambda text: text + "#"), "modeling_gptbert.py is no longer"),
    "record changed since": (_edit("patch.json", lambda text: text.replace("0.", "1.", 1)), "patch.json"),
    "file lost": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    "licence lost": (_handwritten, "The source's licence is 'apache-2.0', but the card says 'mit'"),
}


def _made_from(folder: Path, path: str, content: bytes) -> None:
    """A folder as an altered copy of the source would have given it: its record agrees with its files."""
    model, digest = load(folder), sha256_of(content)
    if path in model.originals:
        model = replace(model, originals={**model.originals, path: content})
    else:
        (folder / path).write_bytes(content)
        known = [
            replace(f, before=digest, after=digest, size=len(content)) if f.path == path else f for f in model.files
        ]
        model = replace(model, files=tuple(known))
    (folder / RECORD).write_text(json_text(to_json(model)))
    passing_report(folder)


@pytest.mark.parametrize("path", ["tokenizer.json", "config.json", "modeling_gptbert.py", "model.safetensors"])
@pytest.mark.parametrize("words", [["--yes"], ["--yes", "--upload-weights"]])
def test_a_folder_that_was_made_from_other_files_than_the_source_s_is_refused(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str, path: str, words: list[str]
) -> None:
    original = load(folder).originals.get(path) or (folder / path).read_bytes()
    _made_from(folder, path, original + b" ")
    done = patcher("publish", folder, repo_id, *words)
    assert done.code == 3 and f"{path} is not the file that the Hub lists for {SOURCE}" in " ".join(done.err.split())
    assert writes(hub) == [] and not hub.exists(repo_id)
    _made_from(folder, path, original)
    assert patcher("publish", folder, repo_id, *words).code == 0


@pytest.mark.parametrize("name", CASES)
def test_a_folder_is_refused(name: str, hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str) -> None:
    spoil, message = CASES[name]
    spoil(folder)
    for words in (["--yes"], ["--dry-run"], ["--yes", "--force"]):
        done = patcher("publish", folder, repo_id, *words)
        assert done.code == 3 and message in " ".join(done.err.split()) and "Hint: " in done.err
    assert hub.requests == [] and not hub.exists(repo_id)


def test_a_failed_verification_is_refused_also_as_unverified(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    _edit("report.json", _failed)(folder)
    assert patcher("publish", folder, repo_id, "--yes", "--unverified").code == 3
    assert not hub.exists(repo_id)


@pytest.mark.parametrize(
    ("token", "message"),
    [(None, "No token"), (LESER, "The token of leser is read-only"), ("hf_nobody", "did not accept the token")],
)
def test_a_token_that_can_not_write_is_refused(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str, token: str | None, message: str
) -> None:
    done = patcher("publish", folder, repo_id, "--yes", env={"HF_TOKEN": token})
    assert done.code == 3 and message in done.err and "hf_" not in done.err
    assert not hub.exists(repo_id)


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [
        (SOURCE, 3, f"{SOURCE} is the source of this model"),
        (SOURCE.upper(), 3, "is the source of this model"),
        ("kari/model", 3, "kari is neither the account ola nor an organisation"),
        ("model", 2, "is not a valid repo id"),
        ("ola/a/b", 2, "is not a valid repo id"),
        ("ola/..", 2, "is not a valid repo id"),
    ],
)
def test_a_name_is_refused(hub: LocalHub, patcher: Patcher, folder: Path, target: str, code: int, message: str) -> None:
    done = patcher("publish", folder, target, "--yes")
    assert done.code == code and message in done.err, done.err
    assert writes(hub) == []


def test_the_repository_of_somebody_else_is_refused(hub: LocalHub, patcher: Patcher, folder: Path) -> None:
    hub.create_repo("kari/hers", {})
    done = patcher("publish", folder, "kari/hers", "--yes")
    assert done.code == 3 and "ola has no write access to kari/hers" in done.err
    assert len(hub.commits("kari/hers")) == 1


def test_an_organisation_of_the_account_is_a_place_to_publish(hub: LocalHub, patcher: Patcher, folder: Path) -> None:
    done = patcher("publish", folder, "norsk/model", "--yes")
    assert done.code == 0, done.err
    assert "patch.json" in hub.files("norsk/model")


def test_a_report_with_an_edited_figure_is_refused(hub: LocalHub, patcher: Patcher, folder: Path) -> None:
    path = folder / "report.json"
    path.write_text(path.read_text().replace("-9.5", "-99.5", 1))
    refused = patcher("publish", folder, "ola/new", "--yes")
    assert refused.code == 3 and "can't be read as a report" in refused.err
    assert writes(hub) == []


def test_a_pull_request_needs_something_to_be_opened_on(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    done = patcher("publish", folder, repo_id, "--yes", "--create-pr")
    assert done.code == 3 and f"There is no {repo_id}" in done.err and not hub.exists(repo_id)
    assert patcher("publish", folder, repo_id, "--yes", "--create-pr", "--tag", "v1").code == 2


WEIGHTS = random.Random(5).randbytes(500_000)


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


@pytest.mark.parametrize(
    "name", ["a b", "", "-v1", "v..1", "v1.lock", "a//b", ".v1", "v1/", "v1~", "a@{1}", "v\n1", "HEAD"]
)
def test_what_git_takes_for_no_branch_or_tag_is_wrong_usage(name: str) -> None:
    for branch, tag in ((name, None), (None, name)):
        with pytest.raises(UsageError, match="is not a valid branch or tag name"):
            check_names("ola/model", branch, tag)


@pytest.mark.parametrize("name", ["v1", "v1.0", "feature/æøå", "2026-11", "a@b", "release_1"])
def test_what_git_takes_for_a_branch_or_a_tag_is_one(name: str) -> None:
    check_names("ola/model", name, f"{name}-tag")
    check_names("ola/model", f"{name}-branch", name)


@pytest.mark.parametrize("branch", [None, "main", "next"])
def test_a_tag_that_is_called_as_the_branch_is_wrong_usage(branch: str | None) -> None:
    with pytest.raises(UsageError, match="is the branch that gets the commit"):
        check_names("ola/model", branch, branch or "main")


LICENCES = "---\nlicense:\n- mit\n- apache-2.0\n---\n# Base\n"
UNREADABLE = "---\nlicense: mit\nlanguage: [\n---\n# Base\n"


@pytest.mark.parametrize("card", [LICENCES, UNREADABLE], ids=["several", "unreadable"])
def test_no_licence_of_the_source_is_lost_silently(
    card: str, hub: LocalHub, patcher: Patcher, repo_id: str, tmp_path: Path
) -> None:
    source, out = f"{repo_id}-source", tmp_path / "out"
    hub.create_repo(source, {**source_files(b"w" * 1000), "README.md": card.encode()})
    assert patcher("patch", source, "--out", out, "--no-verify").code == 0
    passing_report(out)
    assert patcher("card", out).code == 0
    done = patcher("publish", out, repo_id, "--yes")
    if card == UNREADABLE:
        assert done.code == 3 and "The licence of the source is not known" in done.err and not hub.exists(repo_id)
        written = (out / "README.md").read_text("utf-8").replace("---\n", "---\nlicense: mit\n", 1)
        (out / "README.md").write_text(written, "utf-8")
        done = patcher("publish", out, repo_id, "--yes")
    assert done.code == 0, done.err
    expected = ["mit", "apache-2.0"] if card == LICENCES else "mit"
    assert read_metadata(hub.read(repo_id, "README.md").decode())["license"] == expected
