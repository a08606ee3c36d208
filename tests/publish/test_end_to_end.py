"""The whole road on the miniature: patch, verify by running it, publish, check; no report is made up here."""

from __future__ import annotations

from pathlib import Path

import pytest

from patcher.constants import DRAWN
from tests.conftest import ON_CPU
from tests.hub import LocalHub
from tests.publish.tools import Patcher

MINI = Path(__file__).parents[1] / "snapshots" / "norbert4-mini"


@pytest.mark.slow
def test_the_miniature_travels_from_the_hub_to_the_hub(
    hub: LocalHub, patcher: Patcher, tmp_path: Path, repo_id: str
) -> None:
    source, out = f"ltg/mini-{repo_id.partition('-')[2]}", tmp_path / "out"
    hub.seed(source, MINI)
    patched = patcher("patch", source, "--out", out, *ON_CPU, "--quiet")
    assert patched.code == 0, patched.out + patched.err
    hub.reset_counters()
    done = patcher("publish", out, repo_id, "--yes", "--json")
    assert done.code == 0 and done.data["passed"], done.err
    sent = [one for one in done.data["plan"]["operations"] if one["op"] == "upload"]
    drawn = sum(one["size"] for one in sent if one["path"] in DRAWN)
    assert {one["path"] for one in sent} >= DRAWN - {"plots/shift.png", "plots/shift.svg"} and drawn < 250_000
    # On the way a small file is base64, which takes 4/3 of its size; the rest are the requests themselves.
    assert hub.counters.uploaded < 4 / 3 * sum(one["size"] for one in sent) + 36_000
    assert hub.counters.xet_stored == hub.counters.lfs_uploaded == 0
    changed = {"config.json", "modeling_gptbert.py", "README.md", "patch.json", "report.json"}
    assert sum(one["size"] for one in sent if one["path"] in changed) < 200_000
    assert "model.onnx" not in hub.files(repo_id)
    checked = patcher("check", repo_id, "--json")
    assert checked.code == 0 and all(one["passed"] for one in checked.data["findings"]), checked.out
    assert "not in the record" not in checked.out, "pictures and page belong to a publication"
