"""How much memory the verification of a model needs, and how much this machine has left."""

from __future__ import annotations

import os
import re
from pathlib import Path

from patcher.planning.plan import Plan
from patcher.source.snapshot import Snapshot

# Libraries of both processes and the logits of a batch, whose size is bounded; the weights, and in training the scaled
# copies of them that the family's layers make. Measured (docs/benchmarks.md): 0.6 GB for weights of 6.5 MB, 2.95 GB for
# 0.7 GB, 11.8 GB for 4.3 GB; this gives more for each.
_FIXED, _TIMES = 2_000_000_000, 3


def memory_of(plan: Plan, snapshot: Snapshot) -> int:
    """Bytes that verifying a model needs at most, on a CPU."""
    sizes = {file.path: file.size or 0 for file in snapshot.files}
    weights = [path for path in plan.files.copied if path.endswith(".safetensors")]
    return _FIXED + _TIMES * sum(sizes[path] for path in (*weights, *plan.files.converted.values()))


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that processes can still take: what the kernel has left, or less where a control group allows less.

    Half of the machine's memory where the system does not say (macOS). `root` is where /proc and /sys are.
    """
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", (root / "proc/meminfo").read_text(), re.M)
        left = int(found[1]) * 1024 if found else 0
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return min([left, *_left_by_groups(root)])


def _left_by_groups(root: Path) -> list[int]:
    """What each control group (version 2) of this process leaves of its limit; pages of files can be given up."""
    mounted, left = root / "sys/fs/cgroup", []
    try:
        own = (root / "proc/self/cgroup").read_text().rpartition("0::/")[2].strip()
    except OSError:
        return []
    for group in (mounted / own, *(mounted / own).parents):
        try:
            limit, used = ((group / f"memory.{name}").read_text().strip() for name in ("max", "current"))
            pages = re.search(r"^inactive_file (\d+)", (group / "memory.stat").read_text(), re.M)
        except OSError:
            continue
        if limit != "max":
            left.append(int(limit) - int(used) + (int(pages[1]) if pages else 0))
    return left
