"""Two runs of one model are held against each other: what rounding explains passes, another model does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from patcher.patching.record import load
from tests.conftest import Run
from tests.verify.running import alter, failed, report_on, two_runs


@pytest.mark.parametrize("dtypes", [("float32", "float32"), ("float32", "bfloat16"), ("float32", "float16")])
def test_the_same_model_in_another_dtype_agrees_within_the_tolerance(
    patched: Path, tmp_path: Path, dtypes: tuple[str, str]
) -> None:
    report = two_runs(patched, patched, tmp_path, *dtypes)
    assert report.disagreement is not None and report.disagreement.texts == 12
    print("\n", report.disagreement)
    assert report.passed, [check for check in report.all_checks if not check.passed]
    assert "devices_agree" in {check.name for check in report.checks}
    if dtypes[0] != dtypes[1]:
        assert report.disagreement.largest > 0


def test_another_model_does_not_agree(patched: Path, mini: Path, tmp_path: Path) -> None:
    """Even in the coarsest dtype, where the tolerance is widest; and nothing but this check can see it."""
    from patcher.pipeline.api import patch_model
    from patcher.planning.plan import make_plan
    from patcher.source.snapshot import resolve

    alter(mini, "classifier.emb2vocab.bias", 9.0)
    snapshot = resolve(str(mini))
    patch_model(make_plan(snapshot), snapshot, tmp_path / "altered", None)
    report = two_runs(patched, tmp_path / "altered", tmp_path, "float32", "bfloat16")
    assert not report.passed and failed(report) == {"devices_agree"}


@pytest.mark.parametrize(("dtype", "limit"), [("bfloat16", 5 * 0.125), ("float16", 5 * 2.0**-6)])
def test_a_coarser_dtype_passes_with_the_tolerance_of_its_own(
    patched: Path, tmp_path: Path, dtype: str, limit: float
) -> None:
    report = report_on(patched, tmp_path / "scratch", dtype=dtype)
    assert report.environment["dtype"] == dtype
    check = next(check for check in report.checks if check.name == "cap_removed_exactly")
    assert check.limit == limit and 0 < check.value < limit
    assert report.passed, failed(report)


@pytest.mark.parametrize("wrong", [{"scale": 29.0}, {"temperature": 6.0}])
def test_another_cap_is_caught_in_a_coarser_dtype_too(patched: Path, tmp_path: Path, wrong: dict[str, float]) -> None:
    model = load(patched)
    model = replace(model, soft_cap=replace(model.soft_cap, **wrong))
    assert "cap_removed_exactly" in failed(report_on(patched, tmp_path / "scratch", model, dtype="bfloat16"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--device", "tpu"), "'tpu' is not a valid device"),
        pytest.param(
            ("--device", "cuda"),
            "no cuda device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
        (("--device", "cpu", "--attn", "eager"), "single attention implementation"),
        (("--device", "cpu", "--attn", "sdpa"), "single attention implementation"),
        (("--device", "cpu", "--dtype", "float8"), "'float8' is not a valid dtype"),
    ],
)
def test_what_is_not_there_is_told_in_two_lines_before_anything_is_written(
    patched: Path, cli: Run, options: tuple[str, ...], message: str
) -> None:
    done = cli("verify", patched, "--trust-remote-code", "--no-sparse-encoder", *options, "--quiet")
    wrong_usage = message != "no cuda device"
    assert done.returncode == (2 if wrong_usage else 3) and not (patched / "report.json").exists()
    error, hint = done.stderr.splitlines()
    assert error.startswith("Error: ") and message in error and hint.startswith("Hint: ")


# On a machine with CUDA

gpu = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")


@gpu
@needs_cuda
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_cuda_passes_every_check(patched: Path, cli: Run, dtype: str) -> None:
    done = cli(
        "verify", patched, "--trust-remote-code", "--no-sparse-encoder", "--device", "cuda", "--dtype", dtype, "--json"
    )
    assert done.returncode == 0, done.stderr
    environment = json.loads(done.stdout)["environment"]
    assert environment["device"] == torch.cuda.get_device_name()
    assert environment["dtype"].startswith("bfloat16" if dtype == "float32" else dtype)


@gpu
@needs_cuda
def test_cpu_and_cuda_agree_and_the_cpu_is_truly_float32(patched: Path, cli: Run) -> None:
    done = cli("verify", patched, "--trust-remote-code", "--no-sparse-encoder", "--device", "cpu,cuda", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["disagreement"]["between"] == ["cpu", "cuda"], done.stderr
    assert report["environment"]["dtype"] == "float32"
    assert 0 < report["disagreement"]["largest"] < report["disagreement"]["tolerance"]
