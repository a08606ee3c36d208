"""The folder is complete or absent, whatever happens while it is written."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path

import pytest

from patcher.errors import OutputError, SourceError
from patcher.patching.record import PatchedModel, load, read_record
from patcher.patching.staging import check_output, write_atomically
from patcher.patching.writer import staged_model
from patcher.pipeline.api import check_out
from patcher.planning.plan import Plan, make_plan
from patcher.source.snapshot import resolve, sha256_of
from tests.conftest import MINI, ROOT, Run, user_environment


@lru_cache
def plan_of_mini() -> Plan:
    """Made once: these tests are about writing."""
    return make_plan(resolve(str(MINI)))


def write(out: Path) -> PatchedModel:
    with staged_model(plan_of_mini(), resolve(str(MINI)), out):
        pass
    return load(out)


def write_from(source: Path, out: Path) -> None:
    with staged_model(plan_of_mini(), resolve(str(source)), out):
        pass


def is_whole(folder: Path) -> bool:
    """Whether every file on record is there with the bytes on record."""
    return all(sha256_of(folder / file.path) == file.after for file in load(folder).files)


def test_every_file_is_on_record_with_its_hash_before_and_after(tmp_path: Path) -> None:
    model = write(tmp_path / "out")
    assert is_whole(model.folder)
    assert {file.path for file in model.files} == {p.name for p in model.folder.iterdir()} - {"patch.json"}
    for file in model.files:
        assert file.before == sha256_of(MINI / file.path)
        assert (file.before == file.after) is (file.action == "copied")
    assert not (model.folder / "model.onnx").exists()


def test_the_record_holds_the_source_the_versions_the_diff_and_the_published_code(tmp_path: Path) -> None:
    write(tmp_path / "out")
    record = json.loads((tmp_path / "out" / "patch.json").read_text())
    assert record["source"]["path"] == str(MINI)
    assert set(record["versions"]) == {"python", "libcst", "huggingface_hub"}
    assert record["diff"].startswith("--- a/modeling_gptbert.py\n+++ b/modeling_gptbert.py\n")
    published = base64.b64decode(record["originals"]["modeling_gptbert.py"])
    assert published == (MINI / "modeling_gptbert.py").read_bytes()


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_the_source_is_left_as_it_was(tmp_path: Path) -> None:
    before = {path.name: sha256_of(path) for path in MINI.iterdir()}
    write(tmp_path / "out")
    assert {path.name: sha256_of(path) for path in MINI.iterdir()} == before


def test_a_folder_of_ours_is_replaced_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out)
    (out / "model.safetensors").write_bytes(b"damaged")
    write(out)
    assert is_whole(out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("path", ["NOTES.txt", "checkpoints/step-1/model.safetensors"])
def test_a_folder_of_ours_with_somebody_s_work_in_it_is_refused(tmp_path: Path, path: str) -> None:
    out = tmp_path / "out"
    write(out)
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    (out / path).write_text("mine")
    with pytest.raises(OutputError, match="also holds files that splade-patcher did not write"):
        write(out)
    assert (out / path).read_text() == "mine"


def test_what_somebody_puts_there_meanwhile_is_not_lost(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(OutputError), staged_model(plan_of_mini(), resolve(str(MINI)), out):
        out.mkdir()
        (out / "thesis.txt").write_text("mine")
    assert (out / "thesis.txt").read_text() == "mine"


def test_a_card_edited_by_hand_stops_a_new_patch(patched: Path) -> None:
    (patched / "README.md").write_text("# Mine\n")
    with pytest.raises(OutputError, match="edited by hand"):
        check_out(patched, resolve(str(MINI)))


@pytest.mark.parametrize("place", [".", "sub/folder", ".."])
def test_an_output_and_a_source_that_contain_each_other_are_refused(mini: Path, place: str) -> None:
    out = (mini / place).resolve()
    with pytest.raises(OutputError):
        check_out(out, resolve(str(mini)))


@pytest.mark.parametrize("path", ["../evil.py", "/tmp/evil.py", "a/../../evil.py"])
@pytest.mark.parametrize("key", ["files", "originals"])
def test_a_record_that_leads_out_of_the_folder_is_refused(patched: Path, key: str, path: str) -> None:
    record = json.loads((patched / "patch.json").read_text())
    if key == "files":
        record["files"][0]["path"] = path
    else:
        record["originals"][path] = ""
    (patched / "patch.json").write_text(json.dumps(record))
    with pytest.raises(OutputError, match="not a record"):
        load(patched)


@pytest.mark.parametrize("change", [{"originals": []}, {"codemods": None}, {"base_card": []}, {"diff": 5}])
def test_a_record_of_another_shape_is_refused(patched: Path, change: dict[str, object]) -> None:
    path = patched / "patch.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(OutputError, match="not a record"):
        load(patched)


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert is_whole(write(tmp_path / "out").folder)


@pytest.mark.parametrize("kind", ["folder", "file", "other record", "link"])
def test_what_is_not_ours_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    elif kind == "link":
        (tmp_path / "elsewhere").mkdir()
        out.symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere" / "thesis.txt").write_text("mine")
    else:
        out.mkdir()
        (out / ("patch.json" if kind == "other record" else "thesis.txt")).write_text('{"tool": "mine"}')
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(OutputError, match="was not written by splade-patcher"):
        check_output(out)
    with pytest.raises(OutputError):
        write(out)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_a_failure_while_writing_leaves_the_old_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out)
    with pytest.raises(RuntimeError), staged_model(plan_of_mini(), resolve(str(MINI)), out) as model:
        (model.folder / "half").write_text("half")
        raise RuntimeError("in the middle")
    assert is_whole(out) and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_model_without_safetensors_is_refused(mini: Path, tmp_path: Path) -> None:
    (mini / "model.safetensors").rename(mini / "pytorch_model.bin")
    with pytest.raises(SourceError, match="no safetensors weights"):
        write_from(mini, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["", "{}", '{"tool": {"name": "splade-patcher"}, "schema_version": 99}'])
def test_a_record_that_cannot_be_understood_is_refused(patched: Path, content: str) -> None:
    (patched / "patch.json").write_text(content)
    with pytest.raises(OutputError, match="not a record"):
        load(patched)


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not a patched folder"):
        load(tmp_path)


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk; the system reports it on the same path."""
    out = tmp_path / "out"
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        f"from patcher.cli import main; sys.exit(main(['patch', {str(MINI)!r}, '--out', {str(out)!r}, '--no-verify']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2].startswith("Error: No space left")
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_may_not_be_written_is_told(cli: Run) -> None:
    done = cli("patch", MINI, "--out", "/proc/out", "--no-verify")
    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[-2].startswith("Error: /proc/out could not be written") or "may not be" in done.stderr
    )


SLOW_COPY = """
import shutil, sys, time
copy = shutil.copyfile
def slowly(source, target):
    print("copying", flush=True)
    time.sleep(0.15)
    result = copy(source, target)
    time.sleep(0.15)
    return result
shutil.copyfile = slowly
from patcher.__main__ import main
main()
"""


def begin(out: Path, home: Path, *extra: str) -> subprocess.Popen[str]:
    """Start a patch whose copying takes long enough to be hit in the middle, and wait until it copies."""
    home.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_COPY, "patch", str(MINI), "--out", str(out), "--no-verify", *extra],
        cwd=ROOT,
        env=user_environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "copying\n"
    return process


@pytest.mark.parametrize("old", [False, True], ids=["no folder before", "a folder before"])
def test_kill_9_in_the_middle_leaves_the_old_folder_or_none(tmp_path: Path, old: bool) -> None:
    out = tmp_path / "place" / "out"
    out.parent.mkdir()
    if old:
        write(out)
    process = begin(out, tmp_path / "home")
    time.sleep(0.4)
    process.kill()
    process.wait()
    assert is_whole(out) if old else not out.exists()
    assert any(path.name.endswith(".partial") for path in out.parent.iterdir()), "it was not hit in the middle"
    write(out)
    assert is_whole(out) and [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_cleans_up_and_says_so(tmp_path: Path, number: int) -> None:
    out = tmp_path / "place" / "out"
    out.parent.mkdir()
    process = begin(out, tmp_path / "home")
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Interrupted; nothing was left half written." in stderr and "Traceback" not in stderr
    assert list(out.parent.iterdir()) == []


def test_the_exchange_of_two_folders_never_shows_a_gap(tmp_path: Path) -> None:
    """Somebody reads the folder all the time while it is replaced again and again."""
    out = tmp_path / "out"
    write(out)
    watcher = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys, time\n"
            "gaps = 0\n"
            "end = time.monotonic() + 4\n"
            f"while time.monotonic() < end: gaps += not os.path.exists({str(out / 'patch.json')!r})\n"
            "print(gaps)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    times = 0
    while watcher.poll() is None:
        write(out)
        times += 1
    assert watcher.stdout is not None
    assert int(watcher.stdout.read()) == 0 and times > 3


def test_a_link_in_the_source_becomes_a_file(mini: Path, tmp_path: Path) -> None:
    """The Hub cache is made of links; the patched folder must not depend on it."""
    shutil.move(mini / "tokenizer.json", mini / "blob")
    os.symlink(mini / "blob", mini / "tokenizer.json")
    write_from(mini, tmp_path / "out")
    assert not (tmp_path / "out" / "tokenizer.json").is_symlink()


@pytest.mark.parametrize("content", ["Blåbærsyltetøy\n", b"\x00\xff\r\n"])
def test_a_file_is_written_as_given_and_nothing_stays_beside_it(tmp_path: Path, content: str | bytes) -> None:
    (tmp_path / "file").write_text("old")
    write_atomically(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_can_not_be_written_keeps_its_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no room")

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no room"):
        write_atomically(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_record_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    model = write(tmp_path / "out")
    record = json.loads((model.folder / "patch.json").read_text())
    for key in ("kept_cap", "encoders", "converted", "dropped"):
        del record[key]
    record["options"] |= {"also_signed": False}
    for file in record["files"]:
        del file["origin"]
    found = read_record(model.folder, json.dumps(record).encode())
    assert (found.files, found.originals, found.soft_cap) == (model.files, model.originals, model.soft_cap)


@pytest.mark.parametrize(
    "change",
    [
        {"tool": {"name": "other"}},
        {"schema_version": 2},
        {"originals": {"../a.py": ""}},
        {"originals": {"a.py": "no base64!"}},
        {"encoders": ["/etc"]},
        {"files": [{"path": "a", "action": "copied", "sha256_before": "", "sha256_after": "", "size": "many"}]},
        {"source": {"repo_id": "../..", "revision": None, "path": None}},
        {"diff": None},
        {"options": {"codemods": ["unknown"]}},
    ],
)
def test_a_record_that_can_not_be_trusted_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    write(tmp_path / "out")
    record = json.loads((tmp_path / "out" / "patch.json").read_text())
    (tmp_path / "out" / "patch.json").write_text(json.dumps({**record, **change}))
    with pytest.raises(OutputError, match="is not a record that this version"):
        load(tmp_path / "out")
