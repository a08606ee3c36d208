"""Where a model comes from: a folder, the Hub at one commit, or the local Hub cache when the Hub can't be reached."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from patcher.codec import to_json
from patcher.errors import SourceError, UsageError
from patcher.hashing import git_blob_id, sha256_of
from patcher.planning.plan import make_plan
from patcher.source.snapshot import MAX_TEXT, File, resolve
from tests.conftest import COMMIT, MINI, ROOT, Run
from tests.hub import LocalHub
from tests.hub.fixtures import LESER, OLA, client_env

CACHED = {"HF_HUB_OFFLINE": "1"}
UNREACHABLE = {"HF_ENDPOINT": "http://127.0.0.1:9"}  # nothing listens on the discard port


@pytest.fixture
def repository(hub: LocalHub) -> str:
    """The miniature on the local Hub, with weights in every form beside the safetensors."""
    files = {path.name: path for path in MINI.iterdir()} | {
        "pytorch_model.bin": b"x" * 5000,
        "onnx/model.onnx": b"y" * 5000,
    }
    return hub.create_repo("ltg/norbert4-base", files)


# Names


@pytest.mark.parametrize("spec", ["", " ", "a b", "one", "a/b/c@x y", "hf://", "hf://a", "https://example.org/a/b"])
def test_a_name_that_cannot_be_one_is_wrong_usage(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(spec)
    assert caught.value.exit_code == 2 and caught.value.hint


@pytest.mark.parametrize("spec", ["./nowhere", "/nowhere/at/all", "../nowhere", "build/models/nowhere"])
def test_a_path_that_is_not_there_is_told_as_a_path(spec: str) -> None:
    with pytest.raises(SourceError, match="no folder"):
        resolve(spec)


@pytest.mark.parametrize("spec", ["hf://datasets/a/b", "hf://spaces/a/b", "hf://a/b/file.txt"])
def test_what_is_no_model_repository_is_refused(spec: str) -> None:
    with pytest.raises(UsageError, match="not a model repository"):
        resolve(spec)


def test_two_revisions_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="Two revisions"):
        resolve("ltg/norbert4-base@v1", "v2")


@pytest.mark.parametrize("name", [b"model\xff", "model\u202e".encode(), b"model\x1b[2J"])
def test_a_folder_whose_name_can_not_be_recorded_is_refused(name: bytes, tmp_path: Path) -> None:
    folder = Path(tmp_path, os.fsdecode(name))
    folder.mkdir()
    with pytest.raises(SourceError, match="invisible or not UTF-8"):
        resolve(str(folder))


def test_a_folder_has_no_revisions() -> None:
    with pytest.raises(UsageError, match="no revisions"):
        resolve(str(MINI), "main")


def test_a_folder_is_recorded_by_its_name_and_by_what_the_client_noted_of_its_origin(mini: Path) -> None:
    source = resolve(str(mini), base_model="ltg/norbert4-base").source
    assert to_json(source) == {
        "repo_id": None,
        "revision": None,
        "path": "norbert4-mini",
        "base_model": "ltg/norbert4-base",
        "base_revision": None,
    }
    assert source.folder == mini and str(source) == str(mini)
    notes = mini / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True)
    for name in ("config.json", "README.md"):
        (notes / f"{name}.metadata").write_text(f"{COMMIT}\netag\n1712656091.123\n")
    assert resolve(str(mini)).source.base_revision == COMMIT
    (notes / "README.md.metadata").write_text(f"{'0' * 40}\netag\n1712656091.123\n")
    assert resolve(str(mini)).source.base_revision is None, "of two commits neither is that of the folder"
    with pytest.raises(UsageError):
        resolve(str(mini), base_model="../x")
    with pytest.raises(UsageError):
        resolve("ltg/norbert4-base", base_model="ltg/norbert4-base")


def test_caches_and_hidden_folders_of_a_folder_are_not_part_of_the_model(mini: Path) -> None:
    for name in (".git/config", ".cache/huggingface/x", "__pycache__/a.pyc"):
        (mini / name).parent.mkdir(parents=True)
        (mini / name).write_text("x")
    assert resolve(str(mini)).paths == tuple(sorted(path.name for path in MINI.iterdir()))


# The Hub


SPELLINGS = ("{}", "{}@main", "hf://{}", "hf://models/{}@main", "{}@COMMIT")
RESOLVE = """
import json, sys
from patcher.codec import to_json
from patcher.source.snapshot import resolve
print(json.dumps([to_json(resolve(spec).source) for spec in sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def resolved(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, object]]:
    """The commit of a repository, and the source that each spelling of its name is resolved to, in one process."""
    place = tmp_path_factory.mktemp("spellings")
    with LocalHub(place / "hub") as hub:
        hub.add_user("ola", OLA)
        commit = hub.create_repo("ltg/norbert4-base", {path.name: path for path in MINI.iterdir()})
        specs = [spec.format("ltg/norbert4-base").replace("COMMIT", commit) for spec in SPELLINGS]
        command = [sys.executable, "-c", RESOLVE, *specs]
        env = client_env(hub.endpoint, place / "home", OLA)
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return commit, dict(zip(SPELLINGS, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("spec", SPELLINGS)
def test_every_spelling_is_resolved_to_the_same_commit(
    resolved: tuple[str, dict[str, dict[str, str]]], spec: str
) -> None:
    commit, sources = resolved
    assert (sources[spec]["repo_id"], sources[spec]["revision"]) == ("ltg/norbert4-base", commit)


def test_a_plan_from_the_hub_fetches_no_weights_in_any_form(
    cli: Run, hub: LocalHub, repository: str, hub_env: dict[str, str]
) -> None:
    done = cli("plan", "ltg/norbert4-base", "--json", **hub_env)
    assert done.returncode == 0, done.stderr
    source = json.loads(done.stdout)["source"]
    assert (source["repo_id"], source["revision"], source["path"]) == ("ltg/norbert4-base", repository, None)
    fetched = {record.path.rpartition("/")[2] for record in hub.requests if "/resolve" in record.path}
    texts = {"config.json", "tokenizer_config.json", "README.md", "modeling_gptbert.py", "configuration_gptbert.py"}
    assert fetched <= texts
    assert not [record for record in hub.requests if "xet-read-token" in record.path]


def test_a_patch_from_the_hub_fetches_safetensors_and_no_other_weights(
    cli: Run, hub: LocalHub, repository: str, hub_env: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = cli("patch", "ltg/norbert4-base", "--out", out, "--no-verify", "--json", **hub_env)
    assert done.returncode == 0, done.stderr
    assert (out / "model.safetensors").read_bytes() == (MINI / "model.safetensors").read_bytes()
    assert json.loads((out / "patch.json").read_text())["source"]["revision"] == repository
    cached = {path.name for path in Path(hub_env["HF_HOME"]).rglob("snapshots/*/**/*") if path.is_file()}
    assert "model.safetensors" in cached
    assert not cached & {"pytorch_model.bin", "model.onnx"}


def test_a_commit_that_comes_meanwhile_changes_nothing(
    cli: Run, hub: LocalHub, repository: str, hub_env: dict[str, str], tmp_path: Path
) -> None:
    """Resolved once: later requests name the commit, not the branch."""
    assert cli("patch", "ltg/norbert4-base", "--out", tmp_path / "out", "--no-verify", **hub_env).returncode == 0
    tails = [record.path for record in hub.requests if "/resolve/" in record.path or "/tree/" in record.path]
    assert tails and all(repository in path for path in tails)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ltg/norbert5-base", "No model repository ltg/norbert5-base"),
        ("ltg/norbert4-base@v9", "no revision 'v9'"),
        ("norsk/gated", "is gated"),
        ("norsk/secret", "No model repository norsk/secret"),
    ],
)
def test_what_the_hub_refuses_is_told_in_two_lines(
    cli: Run, hub: LocalHub, repository: str, hub_env: dict[str, str], name: str, words: str
) -> None:
    files = {"config.json": b"{}"}
    hub.create_repo("norsk/gated", files, gated=True)
    hub.create_repo("norsk/secret", files, private=True)
    done = cli("plan", name, **hub_env | {"HF_TOKEN": LESER})
    assert done.returncode == 3
    error, hint = done.stderr.splitlines()
    assert error.startswith("Error: ") and words in error
    assert hint.startswith("Hint: ")
    assert done.stdout == ""


# Without the Hub


@pytest.mark.parametrize("without", [CACHED, UNREACHABLE], ids=["offline", "unreachable"])
def test_the_cache_serves_where_the_hub_cannot_be_reached(
    cli: Run, hub_cache: Path, tmp_path: Path, without: dict[str, str]
) -> None:
    out = tmp_path / "out"
    arguments = ("patch", "ltg/norbert4-base", "--out", out, "--no-verify", "--json")
    done = cli(*arguments, HF_HUB_CACHE=str(hub_cache), **without)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["plan"]["source"]["revision"] == COMMIT
    assert (out / "model.safetensors").is_file() and not (out / "model.safetensors").is_symlink()


@pytest.mark.parametrize(
    ("without", "hint"),
    [(CACHED, "Unset HF_HUB_OFFLINE"), (UNREACHABLE, "check the network and the address in HF_ENDPOINT")],
    ids=["offline", "unreachable"],
)
def test_where_neither_hub_nor_cache_has_it_the_error_says_how_to_get_it(
    cli: Run, without: dict[str, str], hint: str
) -> None:
    done = cli("plan", "ltg/norbert4-base", **without)
    assert done.returncode == 3
    assert "can't be reached" in done.stderr and hint in done.stderr and "make " not in done.stderr


def test_a_revision_that_is_not_in_the_cache_is_told(cli: Run, hub_cache: Path) -> None:
    done = cli("plan", f"ltg/norbert4-base@{'0' * 40}", HF_HUB_CACHE=str(hub_cache), **CACHED)
    assert done.returncode == 3 and "not in the local Hub cache" in done.stderr


def test_a_cache_without_the_weights_still_gives_a_plan_and_refuses_a_patch(
    cli: Run, hub_cache: Path, tmp_path: Path
) -> None:
    (hub_cache / "models--ltg--norbert4-base" / "snapshots" / COMMIT / "model.safetensors").unlink()
    assert cli("plan", "ltg/norbert4-base", "--json", HF_HUB_CACHE=str(hub_cache), **CACHED).returncode == 0
    done = cli(
        "patch", "ltg/norbert4-base", "--out", tmp_path / "out", "--no-verify", HF_HUB_CACHE=str(hub_cache), **CACHED
    )
    assert done.returncode == 3 and "has no safetensors weights in the local Hub cache" in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_is_not_cached_is_not_said_to_be_missing_from_the_repository(
    cli: Run, hub: LocalHub, repository: str, hub_env: dict[str, str], hub_cache: Path, tmp_path: Path
) -> None:
    """After a plan online, with nothing but the tokenizer in the cache, and with a cache that has lost its refs."""
    patch = ("patch", "ltg/norbert4-base", "--out", tmp_path / "out", "--no-verify")
    assert cli("plan", "ltg/norbert4-base", "-q", **hub_env).returncode == 0
    cut_off = cli(*patch, **hub_env, **CACHED)
    assert cut_off.returncode == 3 and "model.safetensors of ltg/norbert4-base@" in cut_off.stderr, cut_off.stderr
    assert "is not in the local Hub cache" in cut_off.stderr and "pytorch_model.bin" not in cut_off.stderr

    cache, environment = hub_cache / "models--ltg--norbert4-base", CACHED | {"HF_HUB_CACHE": str(hub_cache)}
    (cache / "refs" / "main").unlink()
    unnamed = cli("plan", "ltg/norbert4-base", **environment)
    assert unnamed.returncode == 3 and f"Name the cached commit: ltg/norbert4-base@{COMMIT}" in unnamed.stderr
    assert cli("plan", f"ltg/norbert4-base@{COMMIT}", "-q", **environment).returncode == 0
    for path in (cache / "snapshots" / COMMIT).iterdir():
        if path.suffix == ".py":
            path.unlink()
    partial = cli("plan", f"ltg/norbert4-base@{COMMIT}", **environment)
    assert partial.returncode == 3 and "configuration_gptbert.py" not in partial.stderr, partial.stderr
    assert "auto_map needs modeling_gptbert.py, which is missing in the local Hub cache" in partial.stderr


@pytest.mark.parametrize(
    ("path", "header"),
    [
        (r"/api/models/ltg/norbert4-base$", {"RateLimit": '"api";r=0;t=1'}),
        ("/tree/", {"Retry-After": "1"}),
        ("/resolve-cache/.*/modeling_gptbert.py", {"Retry-After": "1"}),
    ],
)
def test_one_bad_answer_does_not_end_the_reading(
    cli: Run, hub: LocalHub, repository: str, hub_env: dict[str, str], path: str, header: dict[str, str]
) -> None:
    hub.faults.status("GET", path, 429, headers=header)
    done = cli("plan", "ltg/norbert4-base", "--json", **hub_env)
    assert done.returncode == 0 and "The Hub answered 429; trying again in 1 s (2 of 4)." in done.stderr, done.stderr


def test_a_plan_asks_for_the_commit_its_listing_and_each_file_once_and_then_for_the_commit_alone(
    cli: Run, hub: LocalHub, repository: str, hub_env: dict[str, str]
) -> None:
    for spec, least in (("ltg/norbert4-base", 1), (f"ltg/norbert4-base@{repository}", 0)):
        assert cli("plan", spec, "-q", **hub_env).returncode == 0
        asked = [record.path for record in hub.requests if "resolve" not in record.path]
        if spec == "ltg/norbert4-base":
            assert asked == ["/api/models/ltg/norbert4-base", f"/api/models/ltg/norbert4-base/tree/{repository}"]
            fetched = [record.path for record in hub.requests if record.method == "GET" and "resolve" in record.path]
            assert len(fetched) == len(set(fetched)) == 5, fetched
        hub.reset_counters()
        assert cli("plan", spec, "-q", **hub_env).returncode == 0
        assert len(hub.requests) == least
    assert cli("plan", "ltg/norbert4-base", "-q", **hub_env, **CACHED).returncode == 0


CODE = "modeling_gptbert.py"


@pytest.mark.parametrize("name", ["notes.txt", CODE])
def test_a_link_out_of_the_folder_is_refused(name: str, mini: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (mini / name).unlink(missing_ok=True)
    (mini / name).symlink_to("../secret")
    with pytest.raises(SourceError, match=f"'{name}' in .* is a link to"):
        resolve(str(mini))


@pytest.mark.parametrize("hashed", ["these", "others"])
def test_weights_that_the_record_calls_a_link_are_followed_if_they_are_those_on_record(mini: Path, hashed: str) -> None:
    """Whoever writes a record can't name the hash of a private file that he does not have."""
    (mini / "model.safetensors").rename(mini.parent / "weights")
    (mini / "model.safetensors").symlink_to(mini.parent / "weights")
    digest = sha256_of(mini.parent / "weights") if hashed == "these" else "0" * 64
    record = {"files": [{"path": "model.safetensors", "sha256_after": digest, "storage": "symlink"}]}
    (mini / "patch.json").write_text(json.dumps(record))
    if hashed == "these":
        assert resolve(str(mini)).local("model.safetensors").is_file()
    else:
        with pytest.raises(SourceError, match=r"'model\.safetensors' in .* is a link to"):
            resolve(str(mini))


@pytest.mark.parametrize(("name", "opened"), [("other.safetensors", True), ("id_ed25519", False)])
def test_linked_weights_are_readable_for_a_child_where_they_lie(mini: Path, name: str, opened: bool) -> None:
    """The record may be anybody's, so what is not called weights stays private even to who knows its hash."""
    target = (mini / "model.safetensors").rename(mini.parent / name)
    (mini / "model.safetensors").symlink_to(target)
    record = {"files": [{"path": "model.safetensors", "sha256_after": sha256_of(target), "storage": "symlink"}]}
    (mini / "patch.json").write_text(json.dumps(record))
    assert resolve(str(mini)).readable == (mini, *([target] if opened else []))


def test_a_link_to_a_folder_is_refused(mini: Path, tmp_path: Path) -> None:
    for target in (tmp_path, mini):
        (mini / "sub").symlink_to(target)
        with pytest.raises(SourceError, match=r"'sub' in .* is a link to"):
            resolve(str(mini))
        (mini / "sub").unlink()


def test_a_link_to_itself_is_refused(mini: Path) -> None:
    (mini / "notes").symlink_to("../elsewhere")
    (mini.parent / "elsewhere").symlink_to("norbert4-mini/notes")
    with pytest.raises(SourceError, match=r"'notes' in .* is a link to"):
        resolve(str(mini))


def test_a_snapshot_in_the_hub_cache_may_link_to_its_blobs(mini: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--ltg--norbert4-base"
    snapshot = repository / "snapshots" / "0"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for path in mini.iterdir():
        path.rename(repository / "blobs" / path.name)
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert make_plan(resolve(str(snapshot))).soft_cap.scale == 30


def test_a_folder_that_looks_like_the_hub_cache_gains_nothing(mini: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0"
    snapshot.parent.mkdir(parents=True)
    mini.rename(snapshot)
    private = tmp_path / "private"
    private.mkdir()
    (private / "secret").write_text("secret")
    (tmp_path / "models--a--b" / "blobs").symlink_to(private)
    (snapshot / "notes.txt").symlink_to("../../blobs/secret")
    with pytest.raises(SourceError, match=r"'notes.txt' in"):
        resolve(str(snapshot))


@pytest.mark.parametrize("name", [CODE, "config.json", "README.md"])
def test_a_huge_file_is_refused_before_it_is_read(name: str, mini: Path) -> None:
    os.truncate(mini / name, 1 << 30) if (mini / name).exists() else (mini / name).touch()
    begun = time.process_time()
    with pytest.raises(SourceError, match=f"{name} of .* has more than {MAX_TEXT:,} bytes"):
        make_plan(resolve(str(mini)))
    assert time.process_time() - begun < 5


# The bytes


ALTER = """
import json, os, re, sys
from pathlib import Path
from huggingface_hub import snapshot_download
root, name = Path(snapshot_download("ltg/norbert4-base", ignore_patterns=["*.bin", "onnx/*"])), sys.argv[1]
blob = Path(os.path.realpath(root / name))
content = bytearray(blob.read_bytes())
content[len(content) // 2] ^= 1
if sys.argv[2] == "the link":
    (root / name).unlink()
    blob = root / name
blob.write_bytes(content)
if sys.argv[2] == "no listing":
    (root.parent.parent / "trees" / f"{root.name}.json").unlink()
print(blob)
"""


@pytest.mark.parametrize(
    ("name", "what", "offline"),
    [
        ("tokenizer.json", "the blob", False),
        ("config.json", "the blob", True),
        (CODE, "the link", False),
        (CODE, "the link", True),
        ("README.md", "no listing", True),
        ("model.safetensors", "the blob", False),
        ("model.safetensors", "no listing", True),
    ],
)
def test_a_file_of_the_cache_that_is_not_the_one_that_the_hub_lists_is_refused(
    cli: Run, repository: str, hub_env: dict[str, str], tmp_path: Path, name: str, what: str, offline: bool
) -> None:
    """One bit of a blob was changed, or an editor replaced the link to it by a file of its own."""
    home = {**hub_env, "HF_HOME": str(tmp_path / "home" / "hf")}
    command = [sys.executable, "-c", ALTER, name, what]
    done = subprocess.run(command, env={**os.environ, **home}, capture_output=True, text=True, check=True)
    blob = done.stdout.strip()
    patch = ("patch", "ltg/norbert4-base", "--out", tmp_path / "out", "--no-verify", "-q")
    found = cli(*patch, **home, **(CACHED if offline else {}))
    assert found.returncode == 3 and not (tmp_path / "out").exists()
    error, hint = found.stderr.splitlines()[-2:]
    assert f"{name} of ltg/norbert4-base@{repository} is not the file that the Hub lists" in error
    assert f"Delete {blob} and" in hint and f"hf cache verify ltg/norbert4-base --revision {repository}" in hint

    Path(blob).unlink()
    again = cli(*patch, **home)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (MINI / "tokenizer.json").read_bytes()


def test_a_snapshot_of_the_cache_that_is_given_as_a_folder_is_compared_too(mini: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--ltg--norbert4-base"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for path in mini.iterdir():
        blob = git_blob_id(path) if path.suffix != ".safetensors" else sha256_of(path)
        path.rename(repository / "blobs" / blob)
        (snapshot / path.name).symlink_to(f"../../blobs/{blob}")
    assert make_plan(resolve(str(snapshot))).soft_cap is not None
    with (snapshot / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(SourceError, match=r"config\.json of .* is not the file that the Hub lists"):
        make_plan(resolve(str(snapshot)))


@pytest.mark.parametrize("content", [b"", b"hello\n"])
def test_the_id_of_a_content_is_that_of_git(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    theirs = subprocess.run(["git", "hash-object", "file"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert git_blob_id(content) == git_blob_id(tmp_path / "file") == theirs.stdout.strip()
    assert sha256_of(content) == sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("listed", [{"sha256": sha256_of(b"x")}, {"blob_id": git_blob_id(b"x")}])
def test_a_content_matches_its_listing_and_no_other(listed: dict[str, str]) -> None:
    file = File("a", 1, **listed)
    assert file.matches(b"x") and not file.matches(b"y")
    assert File("a", 1).matches(b"y"), "a folder lists no hashes"


@pytest.mark.parametrize("name", ["config.json", "modeling_gptbert.py", "tokenizer_config.json"])
def test_a_pointer_is_called_one_whatever_file_it_stands_for(name: str, mini: Path) -> None:
    (mini / name).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{0:064}\nsize 34000\n")
    with pytest.raises(SourceError, match=f"{re.escape(name)} of .* is a Git LFS pointer") as told:
        make_plan(resolve(str(mini)))
    assert "git lfs pull" in told.value.hint
