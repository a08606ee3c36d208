"""What one commit would contain: copies by the Hub, uploads and deletions."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from patcher.codec import to_json
from patcher.errors import PublishError
from patcher.hashing import sha256_of
from patcher.patching.record import load
from patcher.publish.hub import Entry
from patcher.publish.operations import Origin, PublishedFile, decide, find_added, public
from patcher.publish.publishable import patched
from patcher.publish.target import Target
from patcher.source.snapshot import Source
from tests.hub import LocalHub
from tests.hub.fixtures import OLA, client_env
from tests.publish.tools import SOURCE, Patcher, hub_files, passing_report, source_files
from tests.verify.made_up import MODEL


def test_a_model_without_local_weights_is_published_without_ever_downloading_them(
    hub: LocalHub, patcher: Patcher, tmp_path: Path, repo_id: str
) -> None:
    out, env = tmp_path / "code", {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "home")}
    assert patcher("patch", SOURCE, "--out", out, "--no-verify", "--code-only", "-q", env=env).code == 0
    refused = patcher("publish", out, repo_id, "--yes", env=env)
    assert refused.code == 3 and "--unverified" in refused.err
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
    assert all(str(tmp_path) not in path.read_text("utf-8") for path in out.glob("*.[jm][sd]*"))


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


def test_the_record_on_the_hub_is_the_record_of_the_folder(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    assert patcher("publish", folder, repo_id, "--yes").code == 0
    assert json.loads(hub.read(repo_id, "patch.json")) == to_json(load(folder))


# Decisions without a Hub

ABC = PublishedFile("a.txt", 3, sha256(b"abc").hexdigest(), b"abc")
WEIGHTS = PublishedFile("model.safetensors", 9, "f" * 64, None)
THERE = Entry("model.safetensors", 9, "f" * 64, "", "xet")


def decided(*wanted: PublishedFile, files: dict[str, Entry], **options: Any) -> list[tuple[str, str, bool]]:
    origin = Origin({THERE.path: THERE}) if options.pop("copies", True) else Origin({}, "the source is a folder")
    target = Target("a/b", files=files)
    made = decide(
        wanted, target, patched(MODEL), origin, options.pop("keep", ()), replacing=options.pop("replacing", False)
    )
    return [(operation.op, operation.path, operation.replaces) for operation in made]


def test_large_files_are_copied_small_ones_uploaded_and_equal_ones_left() -> None:
    assert decided(ABC, WEIGHTS, files={}) == [
        ("upload", "a.txt", False),
        ("copy", "model.safetensors", False),
    ]
    assert decided(WEIGHTS, files={THERE.path: THERE}) == []
    assert decided(WEIGHTS, files={THERE.path: replace(THERE, sha256="0" * 64)}) == [("copy", THERE.path, True)]


def test_what_is_kept_is_neither_replaced_nor_removed() -> None:
    other = {"a.txt": Entry("a.txt", 1, None, "", None), "b.bin": Entry("b.bin", 1, None, "", None)}
    assert decided(ABC, files=other, keep={"a.txt", "b.bin"}, replacing=True) == []


@pytest.mark.parametrize(
    "path",
    ["pytorch_model.bin", "model.gguf", "modules.json", "1_Pooling/config.json", "src/handler.py", "training.json"],
)
def test_only_replacing_removes_what_would_be_loaded_of_another_publisher(path: str) -> None:
    other = {one: Entry(one, 1, None, "", None) for one in (path, "notes.txt", "data/training.json")}
    assert decided(files=other) == []
    assert decided(files=other, replacing=True) == [("delete", path, True)]


@pytest.mark.parametrize(
    ("paths", "added"),
    [
        (("model.safetensors", "patch.json", "README.md", "report.html", ".gitattributes"), []),
        (("notes.txt", "data/config.json"), []),
        (
            ("modules.json", "src/more.py", "sub/model.safetensors"),
            ["modules.json", "src/more.py", "sub/model.safetensors"],
        ),
        (("onnx/export.json", "onnx/model.onnx", "onnx/config.json"), []),
        (("onnx/model.onnx",), ["onnx/model.onnx"]),
        (("old.txt", "old.py"), []),
    ],
)
def test_files_added_to_a_publication_are_those_that_would_be_loaded(paths: tuple[str, ...], added: list[str]) -> None:
    files = {path: Entry(path, 1, None, "", None) for path in paths}
    record = to_json(MODEL) | {"files": [{"path": "old.py"}, {"path": "old.txt"}]}
    target = Target("a/b", files=files, texts={"patch.json": json.dumps(record).encode()})
    assert find_added(target, patched(MODEL), [WEIGHTS, replace(WEIGHTS, path="README.md")]) == added


def test_a_file_that_neither_this_machine_nor_the_source_has_is_refused() -> None:
    with pytest.raises(PublishError, match="can't copy it: the source is a folder"):
        decided(WEIGHTS, files={}, copies=False)


def test_a_published_model_does_not_say_where_its_source_folder_lies() -> None:
    model = replace(MODEL, source=Source(None, None, "/home/kari/secret/model"))
    assert public(model).source.path == "model" and public(model) == replace(model, source=Source(None, None, "model"))


def test_a_small_file_is_known_by_its_git_hash() -> None:
    listed = Entry("a", 3, None, "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f", None)  # git hash-object of b"abc"

    def published(content: bytes) -> PublishedFile:
        return PublishedFile("a", len(content), sha256(content).hexdigest(), content)

    assert published(b"abc").equals(listed) and not published(b"abd").equals(listed)
    assert not published(b"abc").equals(replace(listed, sha256="0")), "a large file has no such hash"
