"""Makes the two bases that are compared: with the cap and without it, both of them loading right."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from patcher.pipeline.api import patch_model
from patcher.planning.plan import make_plan
from patcher.planning.rewriting import rewrite_code
from patcher.source.snapshot import resolve


def write_bases(base: Path, out: Path) -> dict[str, Path]:
    """The two bases: `patched` as `patcher patch` writes it, `capped` with the loading repairs alone."""
    snapshot = resolve(str(base))
    plan = make_plan(snapshot)
    patched = patch_model(plan, snapshot, out / "norbert4-mini-splade", None).folder
    capped = out / "norbert4-mini-capped"
    shutil.rmtree(capped, ignore_errors=True)
    shutil.copytree(base, capped)
    modules = {path: snapshot.read(path) for path in snapshot.paths if path.endswith(".py")}
    config = json.loads(snapshot.read("config.json"))
    for path, content in rewrite_code(modules, config).base.items():
        (capped / path).write_bytes(content)
    return {"capped": capped, "patched": patched}
