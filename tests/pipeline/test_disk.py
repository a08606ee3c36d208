"""A list says what it needs before it begins, and gives back what only its verification needed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import OutputError
from patcher.patching.record import load
from patcher.pipeline.disk import Need, check_room, need_of
from patcher.pipeline.family import SKIPPED
from patcher.planning.plan import make_plan
from patcher.source.snapshot import resolve
from tests.conftest import MINI, Run
from tests.hub import LocalHub
from tests.publish.tools import source_files

WEIGHTS = "model.safetensors"


@pytest.mark.parametrize(("storage", "written"), [("copy", True), ("link", False)])
def test_a_folder_needs_no_download_and_a_link_no_room(tmp_path: Path, storage: str, written: bool) -> None:
    snapshot = resolve(str(MINI))
    need = need_of(make_plan(snapshot), snapshot, tmp_path / "not" / "yet", storage)
    assert need.downloaded == 0 and (need.written > (MINI / WEIGHTS).stat().st_size) is written
    assert list(tmp_path.iterdir()) == []


def test_the_room_is_tried_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """A clone where the file system makes them, else a copy: the miniature's folder may be written to."""
    snapshot = resolve(str(MINI))
    assert need_of(make_plan(snapshot), snapshot, tmp_path, "auto").written > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("at_once", "fits"), [(None, False), (2, False), (1, True)])
def test_a_list_that_does_not_fit_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int | None, fits: bool
) -> None:
    room = shutil.disk_usage("/")._replace(free=5_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
    needs = [Need(1_000_000, 2_000_000), Need(3_000_000, 1_000_000)]
    if fits:
        assert check_room(needs, tmp_path, at_once=at_once) == "3.0 MB to download and 1.0 MB to write"
    else:
        with pytest.raises(OutputError, match=r"The list needs .* on the disk of .*, which has 5\.0 MB free"):
            check_room(needs, tmp_path, at_once=at_once)


def test_discarded_weights_are_gone_from_the_folder_and_from_the_cache_if_this_run_put_them_there(
    hub: LocalHub, hub_env: dict[str, str], cli: Run, tmp_path: Path
) -> None:
    """The run is repeated without doing anything; test_patch_line publishes such a folder."""
    hub.add_user("ltg", "hf_ltg")
    contents = {name: name.encode() * 1000 for name in ("ltg/new", "ltg/cached")}
    for name, content in contents.items():
        hub.create_repo(name, source_files(content))
    earlier = cli("patch", "ltg/cached", "--out", tmp_path / "earlier", "--no-verify", "-q", **hub_env)
    assert earlier.returncode == 0, earlier.stderr
    out, listed = tmp_path / "out", tmp_path / "list.txt"
    listed.write_text("".join(f"{name}\n" for name in contents))

    def patch() -> list[dict[str, Any]]:
        done = cli("patch", "--all", listed, "--out", out, "--no-verify", "--discard-weights", "--json", **hub_env)
        assert done.returncode == 0, done.stderr
        results: list[dict[str, Any]] = json.loads(done.stdout)["results"]
        return results

    first, second = patch()
    assert first["downloaded"] > second["downloaded"] == 0 and first["written"] > 0
    blobs = [path.read_bytes() for path in Path(hub_env["HF_HOME"]).rglob("blobs/**/*") if path.is_file()]
    assert not [path for path in Path(hub_env["HF_HOME"]).rglob("*") if path.is_symlink() and not path.exists()]
    assert contents["ltg/new"] not in blobs and contents["ltg/cached"] in blobs
    assert load(out / "new-splade").code_only and load(out / "cached-splade").code_only
    assert [one["status"] for one in patch()] == [SKIPPED] * 2
