"""The plan of a publication: what becomes of a target that is there already, and what is kept or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hub import LocalHub
from tests.publish.tools import Patcher, hub_files, older, passing_report, sealed, writes


def test_the_same_again_is_nothing_to_do(hub: LocalHub, patcher: Patcher, folder: Path, published: str) -> None:
    head = hub.head(published)
    for words in ([], ["--yes"], ["--force"]):
        done = patcher("publish", folder, published, "--json", *words)
        assert done.code == 0 and done.data["case"] == "nothing to do", done.err
        assert done.data["commit"] == head and done.data["passed"]
    assert hub.head(published) == head
    assert writes(hub) == []


def test_an_older_publication_is_updated_and_the_difference_is_shown(
    hub: LocalHub, patcher: Patcher, folder: Path, published: str
) -> None:
    older(hub, published)
    plan = patcher("publish", folder, published, "--dry-run", "--json").data
    assert plan["case"] == "update" and "-# an older line" in plan["diff"]
    assert {(one["op"], one["path"], one["replaces"]) for one in plan["operations"]} == {
        ("upload", "modeling_gptbert.py", True),
        ("upload", "patch.json", True),
        ("delete", "old.txt", True),
    }
    assert [one["path"] for one in plan["kept"]] == ["evaluation.md"]
    commits = len(hub.commits(published))
    done = patcher("publish", folder, published, "--yes")
    assert done.code == 0, done.err
    assert len(hub.commits(published)) == commits + 1
    files = hub_files(hub, published)
    assert files["modeling_gptbert.py"] == (folder / "modeling_gptbert.py").read_bytes()
    assert "old.txt" not in files and files["evaluation.md"] == b"added by hand\n"


def test_a_new_report_is_an_update_of_one_file_and_the_card(
    hub: LocalHub, patcher: Patcher, folder: Path, published: str
) -> None:
    report = json.loads((folder / "report.json").read_text())
    report["environment"]["torch"] = "3.0"
    (folder / "report.json").write_text(sealed(report))
    plan = patcher("publish", folder, published, "--dry-run", "--json").data
    assert sorted(one["path"] for one in plan["operations"]) == ["README.md", "report.html", "report.json"]


def test_a_picture_that_a_new_report_does_not_have_is_removed(
    hub: LocalHub, patcher: Patcher, folder: Path, published: str
) -> None:
    curve = folder / "plots" / "shift.png"
    curve.parent.mkdir(exist_ok=True)
    curve.write_bytes(b"of a gate that failed")
    assert patcher("publish", folder, published, "--yes").code == 0
    assert hub.read(published, "plots/shift.png") == curve.read_bytes()
    curve.unlink()
    assert patcher("publish", folder, published, "--yes").code == 0
    assert "plots/shift.png" not in hub.files(published) and "report.html" in hub.files(published)
    assert f"<title>{published.rpartition('/')[2]}: ".encode() in hub.read(published, "report.html")


@pytest.mark.parametrize("files", [{"model.bin": b"x" * 9}, {"patch.json": b'{"tool": {"name": "other"}}'}])
def test_somebody_elses_content_is_refused(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str, files: dict[str, bytes]
) -> None:
    head = hub.create_repo(repo_id, files)
    done = patcher("publish", folder, repo_id, "--yes")
    assert done.code == 3 and "holds something else" in done.err and "--force" in done.err
    assert hub.head(repo_id) == head


def test_a_patched_model_of_another_source_is_somebody_elses_content(
    hub: LocalHub, patcher: Patcher, folder: Path, published: str
) -> None:
    record = json.loads(hub.read(published, "patch.json"))
    record["source"]["repo_id"] = "ltg/norbert4-base"
    head = hub.commit(published, {"patch.json": json.dumps(record).encode()})
    done = patcher("publish", folder, published, "--yes")
    assert done.code == 3 and "a patched model of another source" in done.err
    assert hub.head(published) == head


def test_force_replaces_content_and_leaves_nothing_that_loads_another_model(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    hub.create_repo(
        repo_id,
        {
            "model.safetensors": b"other",
            "pytorch_model.bin": b"other",
            "onnx/model.onnx": b"other",
            "onnx/export.json": b"{}",
            "training.json": b"{}",
            "modules.json": b"[]",
            "1_Pooling/config.json": b"{}",
            "sentence_bert_config.json": b"{}",
            "adapter_config.json": b"{}",
            "added_tokens.json": b"{}",
            "handler.py": b"x = 1\n",
            "notes.md": b"mine",
        },
    )
    done = patcher("publish", folder, repo_id, "--yes", "--force")
    assert done.code == 0, done.err
    files = hub_files(hub, repo_id)
    local = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(files) - local == {"notes.md"} and files["notes.md"] == b"mine"
    assert patcher("check", repo_id, "--quiet").out == "passed\n"
    assert files["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def test_a_card_edited_on_the_hub_is_kept_unless_told(
    hub: LocalHub, patcher: Patcher, folder: Path, published: str
) -> None:
    edited = hub.read(published, "README.md").replace(b"## Limits", b"## My limits")
    older(hub, published)
    hub.commit(published, {"README.md": edited})
    done = patcher("publish", folder, published, "--yes")
    assert done.code == 0 and hub.read(published, "README.md") == edited
    assert "edited by hand" in patcher("publish", folder, published, "--dry-run").out
    done = patcher("publish", folder, published, "--yes", "--replace-card")
    assert done.code == 0 and b"## My limits" not in hub.read(published, "README.md")


def test_an_empty_repository_is_continued(hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str) -> None:
    hub.create_repo(repo_id, {}, private=True)
    done = patcher("publish", folder, repo_id, "--yes", "--json", "--private")
    assert done.code == 0 and done.data["plan"]["case"] == "new", done.err
    assert len(hub.commits(repo_id)) == 2


def test_private_is_refused_where_everybody_can_look(
    hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str
) -> None:
    head = hub.create_repo(repo_id, {})
    done = patcher("publish", folder, repo_id, "--yes", "--private")
    assert done.code == 3 and "is public" in done.err and hub.head(repo_id) == head


def test_a_tag_that_stands_elsewhere_is_refused_before_the_commit(
    hub: LocalHub, patcher: Patcher, folder: Path, published: str
) -> None:
    assert patcher("publish", folder, published, "--yes", "--tag", "v1").code == 0
    passing_report(folder)
    older(hub, published)
    head = hub.head(published)
    done = patcher("publish", folder, published, "--yes", "--tag", "v1")
    assert done.code == 3 and "has a tag 'v1' already" in done.err and hub.head(published) == head


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
