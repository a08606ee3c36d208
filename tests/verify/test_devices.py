"""Two runs of one model are held against each other: what rounding explains passes, another model does not."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from patcher.codec import to_json
from patcher.errors import UsageError
from patcher.patching.record import load
from patcher.verify.measure.logits import measure
from patcher.verify.report import Report, load_report
from patcher.verify.requests import prepare
from patcher.verify.settings import Verification, parse_devices, parse_dtype
from patcher.verify.texts import load_probe_texts
from patcher.verify.tolerances import EPS, cap_tolerance, device_tolerance, spacing
from patcher.verify.verification import evaluate, hash_folder
from tests.conftest import Run
from tests.verify.running import failed, report_on, wanted
from tests.verify.test_verification import alter

gpu = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")


def two_runs(folder: Path, other: Path, scratch: Path, *dtypes: str) -> Report:
    """The first folder in the first dtype against the other folder in the second one, all on the CPU."""
    asked = Verification(load_probe_texts()[:12], devices=("cpu", "cuda"))
    answers = []
    reference = None
    for number, (place, dtype) in enumerate(zip((folder, other), dtypes, strict=True)):
        request = replace(prepare(load(place), scratch / str(number), asked, "cpu", reference), dtype=dtype)
        answers.append(measure(request))
        reference = scratch / "0" / "digest"
    return evaluate(load(folder), answers, hash_folder(folder), asked)


@pytest.mark.parametrize("dtypes", [("float32", "float32"), ("float32", "bfloat16"), ("float32", "float16")])
def test_the_same_model_in_another_dtype_agrees_within_the_tolerance(
    patched: Path, tmp_path: Path, dtypes: tuple[str, str]
) -> None:
    report = two_runs(patched, patched, tmp_path, *dtypes)
    assert report.disagreement is not None and report.disagreement.texts == 12
    print("\n", report.disagreement)
    assert report.passed, [check for check in report.all_checks if not check.passed]
    assert report.checks[-1].name == "devices_agree"
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


def test_a_report_with_two_devices_is_read_as_it_was_written(patched: Path, tmp_path: Path) -> None:
    report = two_runs(patched, patched, tmp_path, "float32", "bfloat16")
    report.write(patched)
    assert load_report(patched) == report
    data = json.loads((patched / "report.json").read_text())
    assert [device["environment"]["dtype"] for device in data["more_devices"]] == ["bfloat16"]
    assert set(data["more_devices"][0]) == {"environment", "checks", "before", "after", "sparse_encoder"}


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


def test_spacings_are_those_of_the_dtypes() -> None:
    for name, eps in EPS.items():
        assert eps == torch.finfo(getattr(torch, name)).eps
    for value in (30.0, 15.0, 7.5, 32.0):
        below = torch.nextafter(torch.tensor(value), torch.tensor(0.0))
        assert spacing(value, "float32") == value - float(below)
    assert cap_tolerance(30, "float32") == pytest.approx(1e-5, rel=0.05)
    assert device_tolerance(100, "bfloat16", 400) == 100 * 20 / 256


@pytest.mark.parametrize(
    ("words", "what"), [("tpu", "'tpu'"), ("cpu,cpu", "twice"), ("auto,cpu", "auto"), ("", "''"), ("cpu,", "''")]
)
def test_words_that_name_no_device_are_wrong_usage(words: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        parse_devices(words)


def test_words_that_name_devices_keep_their_order() -> None:
    assert parse_devices("CUDA, cpu") == ("cuda", "cpu")
    with pytest.raises(UsageError, match="float8"):
        parse_dtype("float8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--device", "tpu"), "'tpu' is not a valid device"),
        pytest.param(
            ("--device", "cuda"),
            "no cuda device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
        (("--device", "cpu", "--attn", "eager"), "offers no choice"),
        (("--device", "cpu", "--attn", "sdpa"), "offers no choice"),
        (("--device", "cpu", "--dtype", "float8"), "'float8' is not a valid dtype"),
    ],
)
def test_what_is_not_there_is_told_in_two_lines_before_anything_is_written(
    patched: Path, cli: Run, options: tuple[str, ...], message: str
) -> None:
    done = cli("verify", patched, "--trust-remote-code", *options, "--quiet")
    assert done.returncode == 2 and not (patched / "report.json").exists()
    error, hint = done.stderr.splitlines()
    assert error.startswith("Error: ") and message in error and hint.startswith("Hint: ")


def test_a_device_that_is_not_there_is_told_before_model_code_runs(patched: Path, tmp_path: Path) -> None:
    (patched / "modeling_gptbert.py").write_text("raise RuntimeError('ran')")
    request = prepare(load(patched), tmp_path / "scratch", wanted(), "mps")
    if not torch.backends.mps.is_available():
        assert measure(request).unavailable.devices[-1] == "cpu"


# On a machine with CUDA


@gpu
@needs_cuda
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_cuda_passes_every_check(patched: Path, cli: Run, dtype: str) -> None:
    done = cli("verify", patched, "--trust-remote-code", "--device", "cuda", "--dtype", dtype, "--json")
    assert done.returncode == 0, done.stderr
    environment = json.loads(done.stdout)["environment"]
    assert environment["device"] == torch.cuda.get_device_name()
    assert environment["dtype"].startswith("bfloat16" if dtype == "float32" else dtype)


@gpu
@needs_cuda
def test_cpu_and_cuda_agree_and_the_cpu_is_truly_float32(patched: Path, cli: Run) -> None:
    done = cli("verify", patched, "--trust-remote-code", "--device", "cpu,cuda", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["disagreement"]["between"] == ["cpu", "cuda"], done.stderr
    assert report["environment"]["dtype"] == "float32"
    assert 0 < report["disagreement"]["largest"] < report["disagreement"]["tolerance"]


@gpu
@needs_cuda
def test_a_device_without_memory_gets_smaller_batches(patched: Path, tmp_path: Path) -> None:
    """A real shortage: the process may have just what a batch of one text needs and a little more."""
    code = (
        "import json, sys, torch\nfrom pathlib import Path\nfrom patcher.codec import read_json\n"
        "from patcher.verify.measure.logits import measure\nfrom patcher.verify.messages import Request\n"
        "torch.cuda.init()\nfree, total = torch.cuda.mem_get_info()\n"
        "torch.cuda.set_per_process_memory_fraction(60_000_000 / total)\n"
        "answer = measure(read_json(Request, Path(sys.argv[1]).read_text()))\n"
        "print(json.dumps([answer.failure, answer.batch_size, answer.positions]))"
    )
    request = prepare(load(patched), tmp_path / "scratch", Verification(load_probe_texts()), "cuda")
    (tmp_path / "request.json").write_text(json.dumps(to_json(replace(request, max_batch_tokens=1 << 16))))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "request.json")], capture_output=True, text=True, check=True
    )
    failure, size, positions = json.loads(done.stdout.splitlines()[-1])
    assert failure is None and size < 32 and positions > 0
