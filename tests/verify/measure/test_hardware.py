"""The devices of this machine, the precision of what runs on them, and their memory."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from patcher.sandbox.guard import environment
from tests.conftest import ROOT

FAULTS = """
import resource, torch
from patcher.verify.measure.hardware import tune_malloc
tune_malloc({logits})
torch.ones(2_500_000)  # 10 MB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2_500_000)
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
