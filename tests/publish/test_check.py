"""`patcher check`: a published model against its record and its source, at any later time."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from patcher import __version__
from patcher.hashing import sha256_of
from tests.hub import LocalHub
from tests.publish.tools import SOURCE, Patcher, hub_files, passing_report, sealed, source_files, writes


def test_a_publication_is_what_its_record_says(hub: LocalHub, patcher: Patcher, published: str) -> None:
    done = patcher("check", published, "--json")
    assert done.code == 0, done.out
    found = {one["name"]: one["passed"] for one in done.data["findings"]}
    expected = ["source_there", "code_equal", "weights_equal", "files_equal", "source_files_equal", "report_passed"]
    assert found == dict.fromkeys(expected, True)
    assert done.data["commit"] == hub.head(published)
    assert hub.counters.downloaded < 200_000 and writes(hub) == []
    shown = patcher("check", published)
    assert shown.code == 0 and "matches its record" in shown.out
    assert patcher("check", f"{published}@{hub.head(published)}", "--quiet").out == "passed\n"


@pytest.mark.parametrize("path", ["/api/models/.*/revision/|/api/models/[^/]+/[^/]+$", "/tree/", "/resolve/"])
def test_one_bad_answer_does_not_end_the_check(hub: LocalHub, patcher: Patcher, published: str, path: str) -> None:
    hub.faults.status("GET|HEAD", path, 429, headers={"Retry-After": "1"})
    done = patcher("check", published)
    assert len(hub.faults.fired) == 1 and done.code == 0, done.err
    assert "The Hub answered 429; trying again in 1 s (2 of 4)." in done.err and "matches its record" in done.out


def test_nothing_of_the_model_is_executed(hub: LocalHub, patcher: Patcher, published: str, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    hub.commit(published, {"modeling_gptbert.py": f"open({str(trace)!r}, 'w')\n".encode()})
    assert patcher("check", published).code == 1
    assert not trace.exists()


def _line(hub: LocalHub, repo_id: str) -> None:
    hub.commit(repo_id, {"modeling_gptbert.py": hub.read(repo_id, "modeling_gptbert.py") + b"import os\n"})


def _more_code(hub: LocalHub, repo_id: str) -> None:
    hub.commit(repo_id, {"extra.py": b"import os\n"})


def _added(hub: LocalHub, repo_id: str, *paths: str) -> None:
    hub.commit(repo_id, dict.fromkeys(paths, b"{}"))


def _weights(hub: LocalHub, repo_id: str) -> None:
    hub.commit(repo_id, {"model.safetensors": b"other"})


def _second_weights(hub: LocalHub, repo_id: str) -> None:
    hub.commit(repo_id, {"model-00001-of-00001.safetensors": b"other"})


def _config(hub: LocalHub, repo_id: str) -> None:
    hub.commit(repo_id, {"config.json": hub.read(repo_id, "config.json").replace(b"16", b"17")})


def _tokenizer(hub: LocalHub, repo_id: str) -> None:
    hub.commit(repo_id, {"tokenizer.json": None})


def _no_report(hub: LocalHub, repo_id: str) -> None:
    hub.commit(repo_id, {"report.json": None})


def _report_of_others(hub: LocalHub, repo_id: str) -> None:
    report = json.loads(hub.read(repo_id, "report.json"))
    report["files"]["model.safetensors"] = "0" * 64
    hub.commit(repo_id, {"report.json": sealed(report).encode()})


def _failed_report(hub: LocalHub, repo_id: str) -> None:
    report = json.loads(hub.read(repo_id, "report.json"))
    report["passed"] = report["checks"][0]["passed"] = False
    hub.commit(repo_id, {"report.json": sealed(report).encode()})


def _other_hashes(hub: LocalHub, repo_id: str) -> None:
    """Weights and record changed together: only the source can tell."""
    record = json.loads(hub.read(repo_id, "patch.json"))
    for file in record["files"]:
        if file["path"] == "model.safetensors":
            file["sha256_after"] = file["sha256_before"] = "0" * 64
    hub.commit(repo_id, {"patch.json": json.dumps(record).encode()})


def _file_and_record(hub: LocalHub, repo_id: str, path: str, more: bytes = b" ") -> None:
    """Another content, as a publisher would record it: only the source can tell."""
    content = hub.read(repo_id, path) + more
    record = json.loads(hub.read(repo_id, "patch.json"))
    for file in record["files"]:
        if file["path"] == path:
            file |= dict.fromkeys(("sha256_before", "sha256_after"), sha256_of(content)) | {"size": len(content)}
    hub.commit(repo_id, {path: content, "patch.json": json.dumps(record).encode()})


def _recorded(hub: LocalHub, repo_id: str, path: str, content: bytes | None) -> None:
    """A file added or removed (None) together with its record and report: only the source can tell."""
    record = json.loads(hub.read(repo_id, "patch.json"))
    report = json.loads(hub.read(repo_id, "report.json"))
    record["files"] = [file for file in record["files"] if file["path"] != path]
    report["files"].pop(path, None)
    if content is not None:
        digest = sha256_of(content)
        hashes = {"sha256_before": digest, "sha256_after": digest, "size": len(content)}
        record["files"].append({"path": path, "action": "copied", **hashes})
        report["files"][path] = digest
    changed = json.dumps(record).encode()
    report["files"]["patch.json"] = sha256_of(changed)
    hub.commit(repo_id, {path: content, "patch.json": changed, "report.json": sealed(report).encode()})


def _original(hub: LocalHub, repo_id: str, path: str) -> None:
    """A file that no codemod changes, recorded as changed, with the original of the source."""
    record = json.loads(hub.read(repo_id, "patch.json"))
    record["originals"][path] = b64encode(hub.read(repo_id, path)).decode()
    hub.commit(repo_id, {"patch.json": json.dumps(record).encode()})
    _file_and_record(hub, repo_id, path)


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (partial(_file_and_record, path="tokenizer.json"), "source_files_equal"),
        (partial(_file_and_record, path="config.json"), "source_files_equal"),
        (partial(_file_and_record, path="modeling_gptbert.py", more=b"import os\n"), "code_equal"),
        (_line, "code_equal"),
        (_more_code, "code_equal"),
        (_weights, "weights_equal"),
        (_second_weights, "weights_equal"),
        (_config, "files_equal"),
        (_tokenizer, "files_equal"),
        (_no_report, "report_passed"),
        (_report_of_others, "report_passed"),
        (_failed_report, "report_passed"),
        (_other_hashes, "weights_equal"),
        (partial(_recorded, path="modules.json", content=b"[]"), "source_files_equal"),
        (partial(_recorded, path="tokenizer.json", content=None), "source_files_equal"),
        (partial(_recorded, path="model.safetensors", content=None), "source_files_equal"),
        (partial(_recorded, path="modeling_gptbert.py", content=None), "code_equal"),
        (partial(_original, path="tokenizer.json"), "source_files_equal"),
    ],
)
def test_a_change_since_is_found(
    hub: LocalHub, patcher: Patcher, published: str, change: Callable[[LocalHub, str], None], failing: str
) -> None:
    before = hub.head(published)
    change(hub, published)
    done = patcher("check", published, "--json")
    assert done.code == 1, done.out
    assert failing in {one["name"] for one in done.data["findings"] if one["passed"] is False}
    assert patcher("check", f"{published}@{before}").code == 0


@pytest.mark.parametrize(
    "paths",
    [
        ("modules.json",),
        ("adapter_config.json", "adapter_model.bin"),
        ("added_tokens.json", "tokenizer.model", "vocab.txt"),
        ("generation_config.json", "sentence_bert_config.json", "pytorch_model.bin"),
    ],
)
def test_an_added_file_that_changes_what_is_loaded_fails_and_is_not_published_over(
    hub: LocalHub, patcher: Patcher, folder: Path, published: str, paths: tuple[str, ...]
) -> None:
    _added(hub, published, "notes.txt", *paths)
    head = hub.head(published)
    done = patcher("check", published, "--json")
    wrong = {one["name"]: one["detail"] for one in done.data["findings"] if one["passed"] is not True}
    assert done.code == 1 and wrong == {"files_equal": f"mismatch: {', '.join(sorted(paths))}"}
    again = patcher("publish", folder, published, "--yes")
    assert again.code == 3 and f"change what is loaded ({', '.join(sorted(paths))})" in again.err, again.err
    assert hub.head(published) == head
    assert patcher("publish", folder, published, "--yes", "--force").code == 0
    assert "notes.txt" in hub.files(published) and patcher("check", published, "--quiet").out == "passed\n"


def test_a_card_edited_by_hand_is_nobodys_business(hub: LocalHub, patcher: Patcher, published: str) -> None:
    hub.commit(published, {"README.md": b"---\nlicense: apache-2.0\n---\nmine\n", "evaluation.md": b"x"})
    done = patcher("check", published, "--json")
    assert done.code == 0 and "evaluation.md" in str(done.data["findings"])


def test_what_a_plan_leaves_out_is_not_missed_and_what_it_changes_is_compared(
    hub: LocalHub, patcher: Patcher, tmp_path: Path, repo_id: str
) -> None:
    source, out = f"ltg/more-{repo_id.split('-')[1]}", tmp_path / "out"
    files = source_files(b"\3" * 100_000)
    config = files["config.json"].replace(b'"vocab_size"', b'"max_position_embeddings": 64,\n  "vocab_size"')
    left_out = ("modeling_gptbert.py", "README.md", "tokenizer_config.json")
    more = {"config.json": config, "tokenizer_config.json": b"{}", "model.fp16.safetensors": b"\4" * 100}
    hub.create_repo(source, {**files, **more, **{f"checkpoint-5/{name}": b"x = 1\n" for name in left_out}})
    assert patcher("patch", source, "--out", out, "--no-verify", "-q").code == 0
    passing_report(out)
    assert patcher("publish", out, repo_id, "--yes").code == 0
    assert b"model_max_length" in hub.read(repo_id, "tokenizer_config.json")
    assert patcher("check", repo_id, "--quiet").out == "passed\n"
    _file_and_record(hub, repo_id, "tokenizer_config.json")
    done = patcher("check", repo_id, "--json")
    wrong = {one["name"]: one["detail"] for one in done.data["findings"] if one["passed"] is False}
    assert done.code == 1 and wrong.get("source_files_equal") == "mismatch: tokenizer_config.json", done.out


def test_a_source_that_is_gone_is_told_and_the_code_checked_from_the_record(
    hub: LocalHub, patcher: Patcher, tmp_path: Path, repo_id: str
) -> None:
    source, out = f"ltg/gone-{repo_id.split('-')[1]}", tmp_path / "out"
    hub.create_repo(source, source_files(b"\2" * 100_000))
    assert patcher("patch", source, "--out", out, "--no-verify", "-q").code == 0
    passing_report(out)
    assert patcher("publish", out, repo_id, "--yes").code == 0
    hub.repo(source).private = True
    done = patcher("check", repo_id, "--json")
    found = {one["name"]: one["passed"] for one in done.data["findings"]}
    assert done.code == 3 and found["source_there"] is None and found["source_files_equal"] is None, (
        "could not be checked, not failed"
    )
    assert found["code_equal"] and found["weights_equal"]


def test_no_copy_in_the_cache_answers_for_the_hub(
    hub: LocalHub, patcher: Patcher, published: str, tmp_path: Path
) -> None:
    env = {"HF_HUB_CACHE": str(tmp_path / "cache")}
    assert patcher("plan", SOURCE, "-q", env=env).code == 0
    (copy,) = (tmp_path / "cache").glob(f"models--{SOURCE.replace('/', '--')}/snapshots/*/modeling_gptbert.py")
    copy.write_bytes(copy.read_bytes() + b"#")
    assert patcher("check", published, "--quiet", env=env).out == "passed\n"
    cut_off = patcher("check", published, env={**env, "HF_HUB_OFFLINE": "1"})
    assert cut_off.code == 3 and "can't be reached" in cut_off.err and cut_off.out == ""


@pytest.mark.parametrize("status", [401, 403, 429, 503])
def test_a_source_that_does_not_answer_accuses_nobody(
    hub: LocalHub, patcher: Patcher, published: str, status: int
) -> None:
    hub.faults.status("GET", f"/{SOURCE}/", status, times=0)
    done = patcher("check", published, "--json")
    found = {one["name"]: one["passed"] for one in done.data["findings"]}
    assert done.code == 3 and done.data["outcome"] == "could not be checked", done.out
    assert found.pop("source_there") is None and found.pop("source_files_equal") is None
    assert all(found.values()), "compared with the record"
    assert patcher("check", published, "--quiet").out == "could not be checked\n"
    hub.faults.status("GET", f"/api/models/{published}", status, times=0)
    done = patcher("check", published)
    assert done.code == 3 and done.out == "" and "NOT" not in done.err


PARTIAL = ["[]", "{}", '[{"type": "file", "path": "README.md", "oid": "0", "size": 1}]']


@pytest.mark.parametrize("body", PARTIAL, ids=["empty", "no list", "one file"])
def test_a_source_that_is_listed_incompletely_accuses_nobody(
    hub: LocalHub, patcher: Patcher, published: str, folder: Path, repo_id: str, body: str
) -> None:
    hub.faults.status("GET", f"/{SOURCE}/tree/", 200, body=body, times=0)
    done = patcher("check", published, "--json")
    found = {one["name"]: one for one in done.data["findings"]}
    assert done.code == 3 and "lists the files" in found["source_there"]["detail"], done.out
    assert not [name for name, one in found.items() if one["passed"] is False]
    hub.faults.status("GET", f"/{published}/tree/", 200, body=body, times=0)
    done = patcher("check", published)
    assert done.code == 3 and f"lists the files of {published} incompletely" in done.err, done.err
    refused = patcher("publish", folder, f"{repo_id}-new", "--yes")
    assert refused.code == 3 and f"lists the files of {SOURCE} incompletely" in refused.err, refused.err
    assert not hub.exists(f"{repo_id}-new")


def _rewritten(hub: LocalHub, repo_id: str, old: bytes, new: bytes, version: str) -> None:
    """The publication as another version of this tool would have made it."""
    code = hub.read(repo_id, "modeling_gptbert.py")
    assert old in code
    _file_and_record(hub, repo_id, "modeling_gptbert.py", b"")
    record = json.loads(hub.read(repo_id, "patch.json"))
    changed = code.replace(old, new)
    for file in record["files"]:
        if file["path"] == "modeling_gptbert.py":
            file |= {"sha256_after": sha256_of(changed), "size": len(changed)}
    record["tool"]["version"] = version
    content = json.dumps(record).encode()
    report = json.loads(hub.read(repo_id, "report.json"))
    report["files"] |= {"modeling_gptbert.py": sha256_of(changed), "patch.json": sha256_of(content)}
    files = {"modeling_gptbert.py": changed, "patch.json": content, "report.json": sealed(report).encode()}
    hub.commit(repo_id, files)


@pytest.mark.parametrize(
    ("old", "new", "version", "code", "passed"),
    [
        (b"# splade-patcher", b"# Written by an older splade-patcher", "0.1.0", 0, True),
        (b"return subword_prediction", b"return (subword_prediction + 0)", "0.1.0", 3, None),
        (b"return subword_prediction", b"return (subword_prediction + 0)", __version__, 1, False),
    ],
)
def test_what_another_version_wrote_is_compared_without_its_comments(
    hub: LocalHub, patcher: Patcher, published: str, old: bytes, new: bytes, version: str, code: int, passed: bool
) -> None:
    _rewritten(hub, published, old, new, version)
    done = patcher("check", published, "--json")
    found = {one["name"]: one for one in done.data["findings"]}
    assert done.code == code and found["code_equal"]["passed"] is passed, done.out
    assert (f"version {version}" in found["code_equal"]["detail"]) is (version != __version__)
    assert all(one["passed"] for name, one in found.items() if name != "code_equal"), done.out


def test_a_check_downloads_what_the_listing_does_not_tell(hub: LocalHub, patcher: Patcher, published: str) -> None:
    assert patcher("check", published, "-q").code == 0
    files = [one.path.rpartition("/")[2] for one in hub.requests if "/resolve/" in one.path]
    assert sorted(files) == ["config.json", "patch.json", "report.json"]
    assert len(hub.requests) == 10, [str(one) for one in hub.requests]


def test_what_was_not_published_with_this_tool_is_said(hub: LocalHub, patcher: Patcher) -> None:
    done = patcher("check", SOURCE)
    assert done.code == 3 and "has no patch.json" in done.err
    assert patcher("check", "ltg/absent").code == 3
    assert "no revision 'v9'" in patcher("check", f"{SOURCE}@v9").err


def test_an_unverified_publication_fails_its_check(hub: LocalHub, patcher: Patcher, folder: Path, repo_id: str) -> None:
    (folder / "report.json").unlink()
    assert patcher("publish", folder, repo_id, "--yes", "--unverified").code == 0
    assert patcher("check", repo_id).code == 1


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
