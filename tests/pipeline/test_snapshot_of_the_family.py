"""The whole job on a cached model: the miniature, or what PATCHER_TEST_SNAPSHOT names (a Hub id or a folder).

`make test SNAPSHOT=ltg/norbert4-base` runs this on the real thing where it lies in the Hub cache.
PATCHER_TEST_CODE may name a folder with code and config.json alone; then the plan is tested on it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from patcher.planning.plan import make_plan
from patcher.source.snapshot import resolve
from tests.conftest import MINI, Run

SNAPSHOT = os.environ.get("PATCHER_TEST_SNAPSHOT", str(MINI))
CODE = os.environ.get("PATCHER_TEST_CODE", "")


@pytest.mark.parametrize("source", [SNAPSHOT, *([CODE] if CODE else [])])
def test_exactly_one_statement_of_the_cap_changes(source: str) -> None:
    plan = make_plan(resolve(source))
    removed = [line for line in plan.diff.splitlines() if line.startswith("-") and "sigmoid" in line]
    assert len(removed) == 1 and plan.soft_cap.expression in removed[0]
    assert plan.soft_cap.class_name.endswith("ForMaskedLM")
    published = plan.originals[plan.soft_cap.file].decode().split("\n")
    assert plan.soft_cap.expression in published[plan.soft_cap.line - 1]


def test_a_cached_snapshot_of_the_family_is_patched_right(cli: Run, tmp_path: Path) -> None:
    """The sparsity of raw logits is a property of the weights, which differ: it is reported and not asserted."""
    out = tmp_path / "out"
    environment = {"HF_HUB_OFFLINE": "1"}
    if cache := os.environ.get("HF_HUB_CACHE") or os.environ.get("HF_HOME"):
        environment["HF_HUB_CACHE" if "HF_HUB_CACHE" in os.environ else "HF_HOME"] = cache
    arguments = (
        "patch",
        SNAPSHOT,
        "--out",
        out,
        "--trust-remote-code",
        "--device",
        "cpu",
        "--sparse-encoder",
        "--json",
    )
    done = cli(*arguments, **environment)
    checks = {check["name"]: check for check in json.loads(done.stdout)["report"]["checks"]}
    print(json.dumps(json.loads(done.stdout)["report"]["after"]))
    assert all(check["passed"] for name, check in checks.items() if name != "relu_sparsity"), done.stdout
    assert done.returncode == (0 if checks["relu_sparsity"]["passed"] else 1)
