"""`patcher patch` as a user runs it: a folder with a report and a card, or an error and no folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from patcher.cli import main
from patcher.hashing import sha256_of
from patcher.patching.record import load
from tests.conftest import COMMIT, MINI, ON_CPU, ROOT, Run
from tests.hub import LocalHub
from tests.publish.tools import source_files
from tests.verify.running import CHECKS

FIGURES = {"min", "max", "negative_fraction", "logit_sparsity", "embedding_sparsity", "active_dims"}
FIGURES |= {"histogram", "by_length"}


def test_the_job_ends_with_a_folder_that_passed_every_check(verified: dict[str, Any]) -> None:
    report = verified["result"]["report"]
    assert report["passed"] is True
    assert [check["name"] for check in report["checks"]] == [*CHECKS, "sparse_encoder_agrees", "files_unchanged"]
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
    assert set(report["environment"]) == {*versions, "device", "dtype", "attention", "batch_size", "sandbox"}
    assert all(set(check) == {"name", "passed", "value", "limit", "detail"} for check in report["checks"])
    for side in ("before", "after"):
        assert set(report[side]) - {"costs", "curve", "shift_to_gate"} == FIGURES
        assert set(report[side]["embedding_sparsity"]) == {"mean", "min"}
        assert set(report[side]["active_dims"]) == {"mean", "max"}
    assert json.loads((verified["out"] / "report.json").read_text()) == report


def test_progress_goes_to_stderr_and_only_json_to_stdout(verified: dict[str, Any]) -> None:
    assert verified["stderr"].startswith("Patching ") and "Traceback" not in verified["stderr"]


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


def test_the_record_survives_a_round_trip(verified: dict[str, Any]) -> None:
    model = load(verified["out"])
    assert model.soft_cap.class_name == "GptBertForMaskedLM"
    assert model.source.path == "norbert4-mini"


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk; the system reports it on the same path."""
    out = tmp_path / "out"
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        f"from patcher.cli import main; sys.exit(main(['patch', {str(MINI)!r}, '--out', {str(out)!r}, '--no-verify']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-2].startswith("Error: No space left")
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_may_not_be_written_is_told(cli: Run) -> None:
    done = cli("patch", MINI, "--out", "/proc/out", "--no-verify")
    assert done.returncode == 3
    assert (
        done.stderr.splitlines()[-2].startswith("Error: /proc/out could not be written") or "may not be" in done.stderr
    )


def test_a_whole_job_runs_offline_on_the_cache(cli: Run, hub_cache: Path, tmp_path: Path) -> None:
    """The user's own command, from a Hub id to a verified folder with a card, without any network."""
    out = tmp_path / "norbert4-base-splade"
    arguments = ("patch", "ltg/norbert4-base", "--out", out, *ON_CPU, "--json")
    done = cli(*arguments, HF_HUB_CACHE=str(hub_cache), HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["report"]["passed"] is True
    source = result["report"]["source"]
    assert (source["repo_id"], source["revision"], source["path"]) == ("ltg/norbert4-base", COMMIT, None)
    card = (out / "README.md").read_text("utf-8")
    assert "base_model: ltg/norbert4-base" in card and "base_model_relation: finetune" in card and COMMIT in card
    assert os.listdir(out.parent).count(out.name) == 1


@pytest.mark.parametrize("options", [[], ["--link"]], ids=["shared", "linked"])
def test_a_whole_job_runs_on_weights_that_it_downloads_first(
    cli: Run, hub: LocalHub, hub_env: dict[str, str], tmp_path: Path, options: list[str]
) -> None:
    """The child starts while they are downloaded, and reads them all the same."""
    hub.add_user("ltg", "hf_ltg")
    hub.seed("ltg/norbert4-mini", MINI)
    out = tmp_path / f"out-{tmp_path.name}"
    done = cli("patch", "ltg/norbert4-mini", "--out", out, *ON_CPU, "-q", *options, **hub_env)
    assert done.returncode == 0, done.stderr
    assert (out / "model.safetensors").is_symlink() is bool(options)


def test_a_pointer_that_the_hub_sends_for_weights_is_told_although_nothing_runs(
    cli: Run, hub: LocalHub, hub_env: dict[str, str], tmp_path: Path
) -> None:
    """Somebody pushed a clone without Git LFS: the repository itself holds the pointer."""
    hub.add_user("ltg", "hf_ltg")
    hub.create_repo("ltg/pushed", source_files(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"))
    done = cli("patch", "ltg/pushed", "--out", tmp_path / "out", "--no-verify", **hub_env)
    assert done.returncode == 3 and "model.safetensors of ltg/pushed@" in done.stderr
    assert "is a Git LFS pointer" in done.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["a listing", "links to blobs", "files", "a folder"])
def test_the_hash_of_weights_that_are_left_is_known_without_the_hub(
    place: str, cli: Run, hub: LocalHub, hub_env: dict[str, str], hub_cache: Path, tmp_path: Path
) -> None:
    """From the listing in the cache, from the name of a blob, or by reading the file."""
    source, environment, out = "ltg/norbert4-base", {"HF_HUB_CACHE": str(hub_cache)}, tmp_path / "out"
    snapshot = hub_cache / "models--ltg--norbert4-base" / "snapshots" / COMMIT
    digest = sha256_of(MINI / "model.safetensors")
    if place == "a listing":
        hub.add_user("ltg", "hf_ltg")
        hub.seed(source, MINI)
        environment = hub_env
        earlier = ["patch", source, "--out", tmp_path / "earlier", "--no-verify", "--code-only", "-q"]
        assert cli(*earlier, **environment).returncode == 0, "which fetches everything but weights"
    elif place == "links to blobs":
        (snapshot.parents[1] / "blobs").mkdir()
        (snapshot / "model.safetensors").rename(snapshot.parents[1] / "blobs" / digest)
        (snapshot / "model.safetensors").symlink_to(f"../../blobs/{digest}")
    elif place == "a folder":
        source = str(MINI)
    words = ["patch", source, "--out", out, "--no-verify", "--code-only", "-q"]
    done = cli(*words, **environment, HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    model = load(out)
    assert model.code_only and [(file.before, file.after) for file in model.weights] == [(digest, digest)]


def test_nobody_is_asked_about_a_model_that_can_not_run(
    mini: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mini / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert main(["patch", str(mini), "--out", str(tmp_path / "out"), "--no-sparse-encoder"]) == 3
    error, _ = capsys.readouterr().err.splitlines()
    assert "is a Git LFS pointer" in error, "and not that running it was not confirmed"


def test_a_reference_that_does_not_exist_is_told_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["patch", str(MINI), "--out", str(tmp_path / "out"), *ON_CPU, "--reference", str(tmp_path / "python")]
    assert main(words) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert "There is no interpreter" in error and "transformers==4.57.6" in hint
