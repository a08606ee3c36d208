"""The devices of this machine, the precision of what runs on them, and their memory."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from patcher.sandbox.guard import environment
from patcher.verify.measure.hardware import Precision, available_devices, is_out_of_memory
from patcher.verify.measure.hardware import environment as versions
from tests.conftest import ROOT

FAULTS = """
import resource, torch
from patcher.verify.measure.hardware import tune_malloc
tune_malloc({logits})
torch.ones(25_000_000)  # 100 MB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(25_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="sets glibc's allocator")
def test_freed_memory_is_kept_for_the_next_tensor_where_batches_are_larger_by_far(tmp_path: Path) -> None:
    faults = []
    for logits in (1 << 25, 1 << 28):
        code = [sys.executable, "-c", FAULTS.format(logits=logits)]
        done = subprocess.run(code, cwd=ROOT, env=environment(tmp_path, "cpu"), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        faults.append(int(done.stdout))
    assert faults[1] < faults[0] / 2


def test_the_cpu_is_always_there_and_comes_last() -> None:
    assert available_devices()[-1] == "cpu"


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (torch.OutOfMemoryError("CUDA"), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(error: Exception, full: bool) -> None:
    assert is_out_of_memory(error) is full


def test_the_coarsest_dtype_and_the_roundings_of_a_pass_are_observed() -> None:
    one = torch.ones(2, 3)
    with Precision() as seen:
        (one.bfloat16() * 2).view(3, 2)
    assert (seen.coarsest, seen.roundings) == (torch.bfloat16, 2), "a cast and a product, without the view"


def test_logits_that_a_coarser_dtype_holds_were_computed_in_it() -> None:
    seen = Precision()
    seen.inspect_head(torch.tensor([1.0, 0.1]))
    assert (seen.head, seen.coarsest) == (torch.float32, torch.float32)
    seen.inspect_head(torch.tensor([1.0, 0.1]).bfloat16().float())
    assert (seen.head, seen.coarsest) == (torch.bfloat16, torch.bfloat16)
    assert seen.fields(versions("cpu"))["environment"].dtype == "bfloat16"


def test_an_encoder_and_a_head_of_two_dtypes_are_both_named() -> None:
    seen = Precision()
    seen.coarsest = torch.bfloat16
    assert seen.fields(versions("cpu"))["environment"].dtype == "bfloat16 encoder, float32 head"
