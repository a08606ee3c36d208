"""The command line: what goes to stdout and stderr, in each mode, and the exit codes."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.utils import _http
from huggingface_hub.utils.logging import get_verbosity
from huggingface_hub.utils.tqdm import are_progress_bars_disabled

from patcher import cli as commands
from patcher.cli import main
from patcher.cli.app import ORDER
from patcher.patching.record import load
from patcher.source.snapshot import sha256_of
from patcher.verify.report import load_report
from patcher.verify.texts import load_probe_texts
from tests.conftest import MINI, ROOT, Run, user_environment
from tests.verify.running import CHECKS

FIGURES = {"min", "max", "negative_fraction", "logit_sparsity", "embedding_sparsity", "active_dims"}
FIGURES |= {"histogram", "by_length"}


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The whole job, run once as a user runs it, with sentence-transformers looking on."""
    place = tmp_path_factory.mktemp("verified")
    out = place / "norbert4-mini-splade"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "patcher", "patch", "tests/snapshots/norbert4-mini", "--out", str(out)),
            *("--trust-remote-code", "--device", "cpu", "--sparse-encoder", "--json"),
        ],
        cwd=ROOT,
        env=user_environment(place / "home"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {"out": out, "result": json.loads(done.stdout), "stderr": done.stderr}


def test_the_job_ends_with_a_folder_that_passed_every_check(verified: dict[str, Any]) -> None:
    report = verified["result"]["report"]
    assert report["passed"] is True
    assert [check["name"] for check in report["checks"]] == [*CHECKS, "sparse_encoder_agrees"]
    assert {"README.md", "patch.json", "report.json", "model.safetensors"} <= {
        p.name for p in verified["out"].iterdir()
    }


def test_the_metric_of_sentence_transformers_goes_from_zero_to_above_098(verified: dict[str, Any]) -> None:
    found = verified["result"]["report"]["sparse_encoder"]
    assert found["before"]["sparsity_ratio"] == 0.0
    assert found["after"]["sparsity_ratio"] > 0.98
    assert found["pooling"] == "SpladePooling" and found["disagreements"] == 0


def test_the_report_has_the_documented_keys(verified: dict[str, Any]) -> None:
    report = verified["result"]["report"]
    assert {"schema_version", "passed", "source", "environment", "checks", "before", "after"} <= set(report)
    versions = {"python", "torch", "transformers", "flash_attn"}
    assert set(report["environment"]) == {*versions, "device", "dtype", "attention", "batch_size"}
    assert all(set(check) == {"name", "passed", "value", "limit", "detail"} for check in report["checks"])
    for side in ("before", "after"):
        assert set(report[side]) - {"curve", "shift_to_gate"} == FIGURES
        assert set(report[side]["embedding_sparsity"]) == {"mean", "min"}
        assert set(report[side]["active_dims"]) == {"mean", "max"}
    assert json.loads((verified["out"] / "report.json").read_text()) == report


def test_progress_goes_to_stderr_and_only_json_to_stdout(verified: dict[str, Any]) -> None:
    assert verified["stderr"].startswith("Patching ") and "Traceback" not in verified["stderr"]


def test_the_same_command_in_all_its_voices(verified: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """People get tables, --json one object, --quiet one line; the talk never gets into the data."""
    folder = str(verified["out"])
    assert main(["card", folder]) == 0
    human = capsys.readouterr()
    assert main(["card", folder, "--json"]) == 0
    as_json = capsys.readouterr()
    assert main(["card", folder, "--quiet"]) == 0
    quiet = capsys.readouterr()
    assert human.out == f"Wrote {folder}/README.md\n"
    assert json.loads(as_json.out)["path"] == f"{folder}/README.md"
    assert quiet.out == f"{folder}/README.md\n" and quiet.err == ""


def test_a_plan_for_people_shows_the_diff_and_both_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(MINI)]) == 0
    out = capsys.readouterr().out
    assert "-        subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)" in out
    assert "rotary_tables" in out and "model.onnx" in out and "left out" in out


def test_an_already_patched_source_is_said_so_with_exit_0(
    patched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(patched)]) == 0
    assert "already patched" in capsys.readouterr().err
    assert main(["patch", str(patched), "--out", str(tmp_path / "out")]) == 0
    assert "already patched" in capsys.readouterr().out
    assert main(["patch", str(patched), "--out", str(tmp_path / "out"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["already_patched"] is True and result["folder"] is None
    assert not (tmp_path / "out").exists()


def test_a_failed_check_ends_with_1_a_report_and_a_card_that_says_so(patched: Path, cli: Run) -> None:
    done = cli("verify", patched, "--trust-remote-code", "--device", "cpu", "--min-logit-sparsity", "1", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["passed"] is False
    report = load_report(patched)
    assert report is not None and not report.passed
    card = (patched / "README.md").read_text("utf-8")
    assert "**Verification failed.**" in card and "relu_sparsity" in card
    assert "How to use it" not in card


def test_a_failed_verification_never_touches_a_card_edited_by_hand_and_says_so(patched: Path, cli: Run) -> None:
    (patched / "README.md").write_text("# Mine\n")
    done = cli("verify", patched, "--trust-remote-code", "--device", "cpu", "--min-logit-sparsity", "1")
    assert done.returncode == 1
    assert (patched / "README.md").read_text() == "# Mine\n"
    assert "edited by hand" in done.stderr


def test_own_texts_are_added_to_the_bundled_ones(patched: Path, cli: Run, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("Bergen ligger ved havet.\nTromsø ligger i nord.\n", "utf-8")
    done = cli("verify", patched, "--trust-remote-code", "--device", "cpu", "--texts", tmp_path / "texts.txt", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["texts"] == len(load_probe_texts()) + 2


@pytest.mark.parametrize("content", ["", '{"text": "god dag"}\n\n', '{"text": 1}\n'])
def test_texts_that_cannot_be_read_are_wrong_usage(
    patched: Path, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts.jsonl").write_text(content)
    assert main(["verify", str(patched), "--trust-remote-code", "--texts", str(tmp_path / "texts.jsonl")]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("Error: ") and "texts.jsonl" in error and hint.startswith("Hint: ")


# Trust


def test_model_code_is_not_run_without_a_yes(patched: Path, tmp_path: Path, cli: Run) -> None:
    (patched / "modeling_gptbert.py").write_text("open('/tmp/should-not-be-there', 'w')")
    for command in (("verify", patched), ("patch", MINI, "--out", tmp_path / "out")):
        done = cli(*command)
        assert done.returncode == 1
        assert "--trust-remote-code" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_prompt_lists_the_files_with_their_hashes(
    patched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda *_: "n")
    assert main(["verify", str(patched)]) == 1
    stderr = capsys.readouterr().err
    for name in ("modeling_gptbert.py", "configuration_gptbert.py"):
        assert f"{sha256_of(patched / name)}  {name}" in stderr
    assert main(["patch", str(MINI), "--out", str(patched.parent / "out")]) == 1
    stderr = capsys.readouterr().err
    assert f"{sha256_of(patched / 'modeling_gptbert.py')}  modeling_gptbert.py" in stderr, "the code as it will run"
    assert "configuration_gptbert.py" in stderr


# Wrong usage and errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["patch", str(MINI)],
        ["patch", str(MINI), "--out", "x", "--device", "tpu"],
        ["patch", str(MINI), "--out", "x", "--min-logit-sparsity", "98"],
        ["patch", str(MINI), "--out", "x", "--code-only"],
        ["plan", "no such thing"],
        ["verify"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    assert main(arguments) == 2


@pytest.mark.parametrize("command", ["verify", "card"])
def test_a_folder_that_is_none_of_ours_is_told_in_two_lines(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(tmp_path)]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("Error: ") and hint.startswith("Hint: ")


def test_a_traceback_is_shown_only_when_asked(cli: Run, tmp_path: Path) -> None:
    assert "Traceback" not in cli("card", tmp_path).stderr
    assert "Traceback" in cli("card", tmp_path, HF_DEBUG="1").stderr


def test_a_damaged_report_is_told(patched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (patched / "report.json").write_text("{")
    assert main(["card", str(patched)]) == 1
    assert "can't be read as a report" in capsys.readouterr().err


def test_a_report_whose_verdict_contradicts_its_checks_is_refused(patched_verified: Path) -> None:
    path = patched_verified / "report.json"
    data = json.loads(path.read_text())
    data["checks"][0]["passed"] = False
    path.write_text(json.dumps(data))
    assert main(["card", str(patched_verified)]) == 1


def test_a_report_with_an_edited_figure_is_refused(patched_verified: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = patched_verified / "report.json"
    path.write_text(path.read_text().replace('"logit_sparsity": 0.9', '"logit_sparsity": 0.99', 1))
    assert main(["card", str(patched_verified)]) == 1
    assert "can't be read as a report" in capsys.readouterr().err


@pytest.fixture
def patched_verified(verified: dict[str, Any], tmp_path: Path) -> Path:
    return shutil.copytree(verified["out"], tmp_path / "norbert4-mini-splade")


def test_help_and_version_need_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "plan" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("splade-patcher ")


def test_the_record_survives_a_round_trip(verified: dict[str, Any]) -> None:
    model = load(verified["out"])
    assert model.soft_cap.class_name == "GptBertForMaskedLM"
    assert model.source.path == "tests/snapshots/norbert4-mini"


def test_a_terminal_without_utf_8_still_gets_the_diff(cli: Run) -> None:
    done = cli("plan", MINI, PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "torch.sigmoid" in done.stdout


def test_what_nobody_foresaw_is_told_in_two_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unforeseen(*_: Any) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("patcher.source.snapshot.resolve", unforeseen)
    assert main(["plan", str(MINI)]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert "RuntimeError: unforeseen" in error and "HF_DEBUG=1" in hint


def test_every_command_is_listed_in_the_order_of_the_work() -> None:
    names = {command.name or command.callback.__name__ for command in commands.app.registered_commands}  # type: ignore[union-attr]
    assert {"plan", "patch", "verify", "card"} <= names
    assert names == set(ORDER)


@pytest.mark.parametrize("command", ORDER)
def test_the_help_of_each_command_ends_with_examples_whose_options_exist(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    options, _, shown = capsys.readouterr().out.partition("Examples:")
    assert f"$ patcher {command} " in shown
    assert all(word in options for word in shown.split() if word.startswith("--"))


def process_state() -> dict[str, Any]:
    logger = logging.getLogger("patcher")
    return {
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "streams": [(id(stream), stream.errors) for stream in (sys.stdout, sys.stderr)],
        "logging": (list(logger.handlers), logger.level),
        "client": (_http._GLOBAL_CLIENT_FACTORY, get_verbosity(), are_progress_bars_disabled()),
    }


@pytest.mark.parametrize("mode", [(), ("--json",), ("--quiet",)])
def test_main_as_a_function_leaves_the_process_as_it_was(mode: tuple[str, ...], patched: Path) -> None:
    before = process_state()
    for words, code in (
        (["plan", str(MINI)], 0),
        (["card", str(patched)], 0),
        (["card", str(MINI)], 1),
        (["verify", str(patched)], 1),
        (["check", "no such name"], 2),
        (["frobnicate"], 2),
    ):
        assert main([*words, *mode]) == code, words
        assert process_state() == before, words


def test_ctrl_c_in_main_as_a_function_ends_the_command_and_the_next_one_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("patcher.source.snapshot.resolve", interrupted)
    assert main(["plan", str(MINI)]) == 130
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_the_command_line_is_imported_without_what_it_needs_later() -> None:
    code = (
        "import sys, patcher, patcher.cli\n"
        "print({'torch', 'transformers', 'libcst', 'huggingface_hub', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
