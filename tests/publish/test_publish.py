"""A first publication: what is planned, what is moved, what arrives."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from patcher.codec import to_json
from patcher.documents.card import is_sealed
from patcher.patching.record import load
from patcher.source.snapshot import sha256_of
from tests.hub import LocalHub
from tests.hub.fixtures import OLA, client_env
from tests.publish.tools import SOURCE, Patcher, hub_files, passing_report, source_files, writes


def test_one_commit_copies_the_weights_and_uploads_kilobytes(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    done = patcher("publish", folder, repo_id, "--yes", "--json")
    assert done.code == 0, done.err
    assert [one.title for one in hub.commits(repo_id)][:-1] == [f"Publish {SOURCE} without the logit cap"]
    assert hub.files(repo_id)["model.safetensors"].sha256 == hub.files(SOURCE)["model.safetensors"].sha256
    assert hub.counters.uploaded < 200_000
    assert hub.counters.xet_stored == hub.counters.lfs_uploaded == 0
    assert done.data["case"] == "committed" and done.data["passed"] and done.data["commit"] == hub.head(repo_id)
    there = hub_files(hub, repo_id)
    card = there.pop("README.md").decode()
    assert f'SparseEncoder("{repo_id}"' in card and is_sealed(card)
    here = {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name not in {".gitattributes", "README.md"}
    }
    assert there == here


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


def test_where_nobody_can_answer_the_error_names_yes(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    for mode in ([], ["--json"], ["--quiet"]):
        done = patcher("publish", folder, repo_id, *mode)
        assert done.code == 1 and "--yes" in done.err
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
    assert hub.exists(repo_id) is published and process.returncode == (0 if published else 1), err


def test_a_model_without_local_weights_is_published_without_ever_downloading_them(
    hub: LocalHub, patcher: Patcher, tmp_path: Path, repo_id: str
) -> None:
    out, env = tmp_path / "code", {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "home")}
    assert patcher("patch", SOURCE, "--out", out, "--no-verify", "--code-only", "-q", env=env).code == 0
    refused = patcher("publish", out, repo_id, "--yes", env=env)
    assert refused.code == 1 and "--unverified" in refused.err
    done = patcher("publish", out, repo_id, "--yes", "--unverified", "--json", env=env)
    assert done.code == 0, done.err
    assert "**Not verified.**" in hub.read(repo_id, "README.md").decode()
    assert hub.files(repo_id)["model.safetensors"].size == 2_000_000
    assert hub.counters.uploaded < 200_000
    # The code is read once to patch it, and what was published once more.
    assert hub.counters.downloaded < 300_000


@pytest.mark.parametrize("xet", [True, False])
def test_a_source_folder_is_uploaded_and_its_place_on_this_machine_stays_private(
    hub: LocalHub, folder: Path, repo_id: str, tmp_path: Path, xet: bool
) -> None:
    source, out = tmp_path / "secret-place" / "my-model", tmp_path / "out"
    source.mkdir(parents=True)
    for name, content in source_files(b"\1" * 300_000).items():
        (source / name).write_bytes(content)
    env = client_env(hub.endpoint, tmp_path / "home", OLA) | ({} if xet else {"HF_HUB_DISABLE_XET": "1"})

    def run(*argv: object) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "patcher", *map(str, argv)]
        return subprocess.run(words, env=env, capture_output=True, text=True, timeout=120, check=False)

    assert run("patch", source, "--out", out, "--no-verify", "-q").returncode == 0
    passing_report(out)
    done = run("publish", out, repo_id, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    files = hub_files(hub, repo_id)
    assert files["model.safetensors"] == b"\1" * 300_000
    for path, content in files.items():
        assert b"secret-place" not in content and str(tmp_path).encode() not in content, path
    assert json.loads(files["patch.json"])["source"]["path"] == "my-model"
    # What the report vouches for is what was published, not what lies in the folder.
    (tmp_path / "patch.json").write_bytes(files["patch.json"])
    assert json.loads(files["report.json"])["files"]["patch.json"] == sha256_of(tmp_path / "patch.json")
    assert str(source) in (out / "patch.json").read_text()


def test_upload_weights_sends_them_from_here(hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str) -> None:
    plan = patcher("publish", folder, repo_id, "--dry-run", "--json", "--upload-weights").data
    assert plan["bytes_copied"] == 0 and plan["bytes_uploaded"] > 2_000_000
    done = patcher("publish", folder, repo_id, "--yes", "--upload-weights")
    assert done.code == 0, done.err
    assert hub.read(repo_id, "model.safetensors") == (folder / "model.safetensors").read_bytes()
    assert not any("duplicate" in one.path for one in hub.requests)


def test_small_lfs_files_are_copied_too(hub: LocalHub, patcher: Patcher, tmp_path: Path, repo_id: str) -> None:
    if not hub.exists("ltg/pieces"):
        hub.create_repo("ltg/pieces", {**source_files(b"w" * 9000), "spiece.model": b"p" * 900})
    out = tmp_path / "out"
    assert patcher("patch", "ltg/pieces", "--out", out, "--no-verify", "-q").code == 0
    passing_report(out)
    done = patcher("publish", out, repo_id, "--yes", "--json")
    assert done.code == 0, done.err
    copied = {one["path"] for one in done.data["plan"]["operations"] if one["op"] == "copy"}
    assert copied == {"model.safetensors", "spiece.model"}
    assert hub.read(repo_id, "spiece.model") == b"p" * 900


def test_private_message_tag_and_branch_arrive(hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str) -> None:
    words = ("--private", "--tag", "v1", "--commit-message", "First words", "--revision", "next")
    done = patcher("publish", folder, repo_id, "--yes", "--json", *words)
    assert done.code == 0, done.err
    assert hub.repo(repo_id).private
    assert [one.title for one in hub.commits(repo_id, "next")][:-1] == ["First words"]
    assert hub.tags(repo_id) == {"v1": hub.head(repo_id, "next")}
    assert 'revision="v1"' in hub.read(repo_id, "README.md", "next").decode()
    assert "patch.json" not in hub.files(repo_id)


def test_a_card_edited_in_the_folder_is_published_as_it_is(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    text = (folder / "README.md").read_text("utf-8").replace("## Limits", "## My own words")
    (folder / "README.md").write_text(text, "utf-8")
    assert patcher("publish", folder, repo_id, "--yes").code == 0
    assert hub.read(repo_id, "README.md").decode() == text
    assert (folder / "README.md").read_text("utf-8") == text


def test_a_file_that_the_record_does_not_know_stays_at_home(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    (folder / "notes.txt").write_text("private")
    done = patcher("publish", folder, repo_id, "--yes", "--json")
    assert any("notes.txt" in note for note in done.data["plan"]["notes"])
    assert "notes.txt" not in hub.files(repo_id)


def test_what_is_printed_loads_exactly_this_commit(hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str) -> None:
    done = patcher("publish", folder, repo_id, "--yes")
    assert f"{hub.endpoint}/{repo_id}" in done.out
    assert done.out.count(f'revision="{hub.head(repo_id)}"') == 2
    quiet = patcher("publish", folder, repo_id, "--yes", "--quiet")
    assert (quiet.out, quiet.err) == (f"{hub.endpoint}/{repo_id}\n", "")


def test_what_the_hub_damaged_is_noticed_when_it_is_read_back(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    def damage(request: object, phase: str) -> None:
        if phase == "after" and getattr(request, "path", "").endswith("/commit/main"):
            commit = hub.commits(repo_id)[0]
            commit.tree["tokenizer.json"] = hub._state.store.regular(b"{}")  # type: ignore[index]
            commit.tree["config.json"] = hub._state.store.regular((folder / "config.json").read_bytes()[::-1])  # type: ignore[index]

    hub.on_request = damage
    done = patcher("publish", folder, repo_id, "--yes", "--json")
    failed = {one["name"]: one["detail"] for one in done.data["findings"] if not one["passed"]}
    assert done.code == 1 and not done.data["passed"]
    assert "tokenizer.json" in failed["files_there"] and "config.json" in failed["small_files_equal"]


def test_the_record_on_the_hub_is_the_record_of_the_folder(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    assert patcher("publish", folder, repo_id, "--yes").code == 0
    assert json.loads(hub.read(repo_id, "patch.json")) == to_json(load(folder))
