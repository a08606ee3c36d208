"""Converted weights can't be copied by the Hub: they are uploaded, said to be, and checked by their pickle."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch

from tests.hub import LocalHub
from tests.publish.tools import Patcher, hub_files, passing_report, source_files


def test_converted_weights_are_uploaded_and_checked_against_the_pickle(
    hub: LocalHub, patcher: Patcher, tmp_path: Path, repo_id: str
) -> None:
    source, out = f"ltg/pickled-{repo_id.partition('-')[2]}", tmp_path / "out"
    pickled = io.BytesIO()
    torch.save({"a": torch.randn(300, 900), "b": torch.randn(7)}, pickled)
    files = {path: content for path, content in source_files(b"").items() if path != "model.safetensors"}
    hub.create_repo(source, {**files, "pytorch_model.bin": pickled.getvalue()})
    done = patcher("patch", source, "--out", out, "--no-verify", "--quiet")
    assert done.code == 0, done.err
    passing_report(out)

    done = patcher("publish", out, repo_id, "--yes", "--json")
    assert done.code == 0 and done.data["passed"], done.err
    operations = {one["path"]: one["op"] for one in done.data["plan"]["operations"]}
    assert operations["model.safetensors"] == "upload"
    assert any("they were converted here" in note for note in done.data["plan"]["notes"])
    assert hub_files(hub, repo_id)["model.safetensors"] == (out / "model.safetensors").read_bytes()
    assert "pytorch_model.bin" not in hub.files(repo_id)

    checked = patcher("check", repo_id, "--json")
    found = {one["name"]: one for one in checked.data["findings"]}
    assert found["weights_equal"]["passed"] and "pickles" in found["weights_equal"]["detail"], found["weights_equal"]
    assert checked.code == 0, checked.out

    # A record that names another pickle than the source holds is found out.
    record = json.loads((out / "patch.json").read_text())
    weights = next(file for file in record["files"] if file["path"] == "model.safetensors")
    weights["sha256_before"] = "0" * 64
    hub.create_repo(f"{repo_id}-forged", {**hub_files(hub, repo_id), "patch.json": json.dumps(record).encode()})
    forged = patcher("check", f"{repo_id}-forged", "--json")
    assert forged.code == 1
    assert not next(one for one in forged.data["findings"] if one["name"] == "weights_equal")["passed"]
