"""What a command says to do next is a command that works there, and no message sends anybody the wrong way."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub.errors import HfHubHTTPError

from patcher.cli import hints, main
from patcher.cli import options as opt
from patcher.publish import Checked, Finding
from patcher.source.hub_errors import from_hub
from tests.cli.test_tables import REPORT, SPARSE
from tests.conftest import MINI

CAP = "        subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)\n"


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def next_command(err: str) -> list[str]:
    """The words of the next command that was named."""
    (line,) = [line for line in err.splitlines() if line.startswith("next: ")]
    return shlex.split(line.removeprefix("next: patcher "))


def test_one_command_leads_to_the_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "my model"
    _, _, err = said(capsys, "plan", MINI, "--also-causal-lm")
    assert next_command(err) == ["patch", str(MINI), "--also-causal-lm", "--trust-remote-code"]
    code, _, err = said(capsys, "patch", MINI, "--out", out, "--no-verify")
    assert code == 0 and next_command(err) == ["verify", str(out)]
    assert said(capsys, *next_command(err))[0] == 3, "it is a command that exists and finds the folder"
    _, _, err = said(capsys, "card", out)
    assert next_command(err) == ["verify", str(out)]
    _, _, err = said(capsys, "plan", out)
    assert next_command(err) == ["verify", str(out)]
    (out / "patch.json").unlink()
    assert next_command(said(capsys, "plan", out)[2]) == ["templates", "DIR"], "nothing to change: train on it"


def test_quiet_says_nothing_and_an_already_patched_model_names_the_folder_that_was_asked_for(
    patched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["plan", MINI], ["card", patched]):
        assert said(capsys, *command, "--quiet")[2] == ""
    assert said(capsys, "patch", patched, "--out", tmp_path / "o", "-q") == (0, f"{tmp_path / 'o'}\n", "")


def test_what_passed_is_published_and_what_failed_is_read(tmp_path: Path) -> None:
    passed = replace(REPORT, checks=(SPARSE,))
    (tmp_path / "report.html").touch()
    report, step = hints.after_report(passed, tmp_path)
    assert report == f"report: {tmp_path / 'report.html'}"
    assert step == f"next: patcher publish {tmp_path} YOUR_NAME/{tmp_path.name} --dry-run"
    assert list(hints.after_report(REPORT, tmp_path)) == [report]
    assert list(hints.after_report(None, tmp_path, code_only=True)) == [f"{step} --unverified"]


def test_a_checked_model_has_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    found = Checked("ola/model", "0123", (Finding("code_equal", True, ""),))
    assert list(hints.after_check(found)) == ["page: https://huggingface.co/ola/model/tree/0123"]


# Messages that once misled


def test_a_raw_model_whose_code_loads_wrong_is_told_of_the_repairs(
    mini: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = mini / "modeling_gptbert.py"
    text = code.read_text("utf-8")
    assert text.count(CAP) == 2
    code.write_text(text.replace(CAP, ""), "utf-8")
    exit_code, _, err = said(capsys, "plan", mini)
    assert exit_code == 3 and "--codemod repairs" in err and "train on it as it is" not in err
    exit_code, out, _ = said(capsys, "plan", mini, "--codemod", "repairs")
    assert exit_code == 0 and "computed_buffers  applied" in out


@pytest.mark.parametrize("command", [["check"], ["check", "--json"]])
def test_a_folder_is_verified_and_not_checked(
    command: list[str], patched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = said(capsys, *command, patched)
    assert code == 2 and "is a path on this machine" in err and f"`patcher verify {patched}`" in err


@pytest.mark.parametrize("command", ["plan", "verify", "card", "encode"])
def test_a_file_of_a_model_leads_to_its_folder(
    command: str, patched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [tmp_path / "t.jsonl", "--to", "qdrant"] if command == "encode" else []
    code, _, err = said(capsys, command, patched / "config.json", *words)
    assert code == 3 and "is a file" in err and f"Hint: Pass the folder `{patched}`." in err


@pytest.mark.parametrize("command", ["verify", "card"])
def test_a_folder_that_is_not_there_is_not_called_another_kind(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"There is no folder {tmp_path / 'no'}." in said(capsys, command, tmp_path / "no")[2]


def test_a_folder_without_weights_is_not_told_to_run_the_same_command(
    mini: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mini / "model.safetensors").unlink()
    code, _, err = said(capsys, "patch", mini, "--out", tmp_path / "out", "--no-verify")
    assert code == 3 and "has no weights" in err and "patcher patch" not in err.splitlines()[-1]


@pytest.mark.parametrize("variable", ["HF_TOKEN", None])
def test_a_wrong_token_is_told_where_it_comes_from(monkeypatch: pytest.MonkeyPatch, variable: str | None) -> None:
    import httpx

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, "hf_wrong")
    response = httpx.Response(401, request=httpx.Request("GET", "https://huggingface.co"))
    found = from_hub(HfHubHTTPError("no", response=response), "ola/private")
    assert ("HF_TOKEN is set" in found.hint) is bool(variable)
    assert found.hint.startswith("Run `hf auth login`") is not bool(variable)


def test_the_next_command_repeats_revision_columns_and_consent() -> None:
    words = opt.repeated(trusted=True, revision="v1", id_column="key", text_column="text")
    assert words == ("--revision", "v1", "--id-column", "key", "--trust-remote-code")
    assert opt.repeated(trusted=False) == ()


def test_consent_is_asked_for_in_words_of_the_command(
    patched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", None)  # as a caller that closed it leaves it
    code, _, err = said(capsys, "search", patched, MINI / "config.json", "Hva?")
    assert code == 3 and "modeling_gptbert.py" in err and "--no-verify" not in err and "Unexpected" not in err
    code, _, err = said(capsys, "patch", MINI, "--out", tmp_path / "out")
    assert code == 3 and "or --no-verify" in err


def test_an_output_below_a_file_is_refused_before_anything_runs(
    patched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    texts = tmp_path / "texts.txt"
    texts.write_text("Oslo\n", "utf-8")
    for what, words in (
        ("not a folder.", ["patch", MINI, "--no-verify", "--out", file / "x"]),
        ("not a folder.", ["encode", patched, texts, "--to", "lucene", "--out", file / "x"]),
        ("not a folder.", ["evaluate", patched, "--questions", "--out", file]),
        ("not a folder.", ["templates", file / "x"]),
        ("a file, not a folder; nothing was written.", ["templates", file]),
    ):
        code, out, err = said(capsys, *words)
        assert code == 3 and out == "" and f"{file} is {what}" in err.splitlines()[-2], words


def test_a_patched_model_gets_no_templates(patched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(patched.rglob("*"))
    assert said(capsys, "templates", patched)[0] == 3 and sorted(patched.rglob("*")) == before


def test_an_error_of_usage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for more in ([], ["--to", "xml"]):
        code, _, err = said(capsys, "encode", "x", "y", *more)
        assert code == 2 and len(err.splitlines()) == 2 and "\\n" not in err and "Value error" not in err


def test_a_folder_to_publish_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capsys, "publish", tmp_path / "gone", "ola/model")
    assert code == 3 and f"{tmp_path / 'gone'} does not exist." in err
