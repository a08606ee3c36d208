"""`patcher publish` as a user runs it: what is shown, asked and printed."""

# ruff: noqa: F811 - the fixtures of publishing, which would hide those of the other commands in a conftest.py
from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_hints import next_command
from tests.hub import LocalHub
from tests.hub.fixtures import OLA, client_env
from tests.publish.conftest import folder, hub, patched, patcher, repo_id, running_hub  # noqa: F401
from tests.publish.tools import SOURCE, Patcher, writes


def test_the_upload_of_weights_shows_its_progress_to_people_only(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    bars = {"HF_HUB_DISABLE_PROGRESS_BARS": None}
    done = patcher("publish", folder, f"{repo_id}-a", "--yes", "--upload-weights", "--quiet", env=bars)
    assert done.code == 0 and done.err == ""


def test_a_dry_run_shows_the_operations_and_the_bytes_and_writes_nothing(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    plan = patcher("publish", folder, repo_id, "--dry-run", "--json").data
    operations = {one["path"]: one for one in plan["operations"]}
    assert operations["model.safetensors"]["op"] == "copy"
    assert operations["model.safetensors"]["from"] == f"{SOURCE}@{hub.head(SOURCE)}"
    assert operations["modeling_gptbert.py"]["op"] == "upload"
    assert plan["bytes_copied"] == 2_000_000
    assert plan["bytes_uploaded"] == sum(one["size"] for one in operations.values() if one["op"] == "upload")
    assert plan["case"] == "new" and "sigmoid" in plan["diff"]
    shown = patcher("publish", folder, repo_id, "--dry-run")
    assert "copy       model.safetensors" in shown.out and "the Hub copies 2.0 MB" in shown.out
    assert patcher("publish", folder, repo_id, "--dry-run", "--quiet").out.count("\n") == 1
    assert writes(hub) == [] and not hub.exists(repo_id)


LOADED = """
import sys
from patcher.cli import main
codes = [main(["card", sys.argv[1], "-q"]), main(["publish", sys.argv[1], sys.argv[2], "--dry-run", "-q"])]
print(codes, [name for name in ("libcst", "torch", "transformers") if name in sys.modules], file=sys.stderr)
"""


def test_what_has_a_record_needs_no_parser_of_code(hub: LocalHub, folder: Path, repo_id: str, tmp_path: Path) -> None:
    environment = client_env(hub.endpoint, tmp_path, OLA)
    words = [sys.executable, "-c", LOADED, str(folder), repo_id]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[0, 0] []"


def test_where_nobody_can_answer_the_error_names_yes(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    for mode in ([], ["--json"], ["--quiet"]):
        done = patcher("publish", folder, repo_id, *mode)
        assert done.code == 3 and "--yes" in done.err
    assert writes(hub) == [] and not hub.exists(repo_id)


@pytest.mark.parametrize(("answer", "published"), [(b"y\n", True), (b"n\n", False), (b"\n", False)])
def test_a_person_is_asked_once_after_the_table_and_the_diff(
    hub: LocalHub, folder: Path, repo_id: str, tmp_path: Path, answer: bytes, published: bool
) -> None:
    here, there = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "patcher", "publish", str(folder), repo_id],
        stdin=there,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=client_env(hub.endpoint, tmp_path / "home", OLA),
    )
    os.write(here, answer)
    out, err = (text.decode() for text in process.communicate(timeout=60))
    assert err.count("Publish this?") == 1
    assert "+++ b/modeling_gptbert.py" in out and "the Hub copies" in out
    assert hub.exists(repo_id) is published and process.returncode == (0 if published else 3), err


def test_what_is_printed_loads_exactly_this_commit(hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str) -> None:
    done = patcher("publish", folder, repo_id, "--yes")
    assert f"{hub.endpoint}/{repo_id}" in done.out
    assert done.out.count(f'revision="{hub.head(repo_id)}"') == 2
    quiet = patcher("publish", folder, repo_id, "--yes", "--quiet")
    assert (quiet.out, quiet.err) == (f"{hub.endpoint}/{repo_id}\n", "")


def test_a_publication_leads_to_its_check_and_a_check_to_the_page_and_both_can_be_quiet(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    shown = patcher("publish", folder, repo_id, "--dry-run")
    assert next_command(shown.err) == ["publish", str(folder), repo_id]
    done = patcher("publish", folder, repo_id, "--yes")
    assert next_command(done.err) == ["check", repo_id]
    assert next_command(patcher("publish", folder, repo_id, "--dry-run").err) == ["check", repo_id]
    checked = patcher("check", repo_id)
    assert checked.code == 0 and checked.err.splitlines()[-1].startswith(f"page: {hub.endpoint}/{repo_id}/tree/")
    assert patcher("publish", folder, repo_id, "--dry-run", "-q").err == ""
    assert patcher("publish", folder, repo_id, "--yes", "-q").err == ""
    assert patcher("check", repo_id, "-q").err == ""
