"""`patcher check`: its exit code and what it prints in each mode. What it finds is tested with publishing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from patcher.cli import main
from patcher.publish import Checked, Finding, RetryPolicy

FINE = Finding("code_equal", True, "2 files")
FOLDER = Finding("source_there", None, "the source was a folder", checkable=False)
OPEN = Finding("source_there", None, "the Hub answered 503")
WRONG = Finding("weights_equal", False, "mismatch: model.safetensors")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The questions to a Hub on which `ola/damaged` does not match its record and `ola/cut-off` has a lost source."""
    second = {"ola/damaged": WRONG, "ola/cut-off": OPEN}
    questions: list[tuple[Any, ...]] = []

    def check(repo_id: str, revision: str | None, *, retry: RetryPolicy) -> Checked:
        questions.append((repo_id, revision, retry.timeout))
        return Checked(repo_id, "0123456789", (FINE, second.get(repo_id, FOLDER)))

    monkeypatch.setattr("patcher.publish.check", check)
    return questions


@pytest.mark.parametrize(
    ("repo_id", "code", "verdict"),
    [("ola/model", 0, "passed"), ("ola/damaged", 1, "failed"), ("ola/cut-off", 3, "could not be checked")],
)
def test_a_failed_finding_ends_with_1_one_that_could_not_be_made_with_3_and_a_folder_as_source_with_0(
    asked: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str], repo_id: str, code: int, verdict: str
) -> None:
    assert main(["check", repo_id, "--quiet"]) == code
    assert capsys.readouterr().out == f"{verdict}\n"
    assert main(["check", repo_id, "--json"]) == code
    assert json.loads(capsys.readouterr().out)["outcome"] == verdict


def test_people_read_each_finding_and_the_verdict(
    asked: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["check", "ola/damaged"])
    out = capsys.readouterr().out
    assert "FAILED  weights_equal  mismatch: model.safetensors" in out
    assert "ola/damaged@0123456 does NOT match its record." in out
    main(["check", "ola/model"])
    assert (
        "unchecked  source_there" in (out := capsys.readouterr().out) and "ola/model@0123456 matches its record." in out
    )
    main(["check", "ola/cut-off"])
    assert "could not be checked completely" in capsys.readouterr().out


def test_the_revision_and_the_limit_of_a_request_are_passed_on(asked: list[tuple[Any, ...]]) -> None:
    main(["check", "ola/model", "--revision", "v1", "--timeout", "2.5", "--quiet"])
    assert asked == [("ola/model", "v1", 2.5)]
