"""What a plan decides from config.json and the code alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patcher.codec import document
from patcher.errors import CodeError, SourceError
from patcher.planning.options import Options
from patcher.planning.plan import Plan, make_plan
from patcher.source.snapshot import resolve
from tests.conftest import MINI
from tests.planning.folders import CAP, configure, edit, plan_of, refusal

REST = ("kind", "shift", "kept")


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The plan of the miniature, everything asked for."""
    return plan_of(MINI, also_causal_lm=True, checkpointing=True)


def test_the_plan_of_the_miniature() -> None:
    plan = plan_of(MINI)
    assert plan.contents["modeling_gptbert.py"].decode().count(CAP) == 1, "the causal head was not asked for"
    assert b"use_reentrant=True" in plan.contents["modeling_gptbert.py"], "nor was checkpointing"
    assert plan.files.changed == ("config.json", "configuration_gptbert.py", "modeling_gptbert.py")
    assert set(plan.files.copied) >= {"model.safetensors", "tokenizer.json"}
    assert set(plan.files.dropped) == {"README.md", "model.onnx"}
    assert (plan.soft_cap.scale, plan.soft_cap.temperature) == (30.0, 7.5)
    applied = {result.name for result in plan.codemods if result.status == "applied"}
    assert applied == {"soft_cap", "computed_buffers", "tied_weights", "config_defaults"}


def test_line_numbers_are_those_of_the_published_file(plan: Plan) -> None:
    files = {path: (MINI / path).read_text("utf-8").split("\n") for path in plan.files.changed}
    assert files[plan.soft_cap.file][plan.soft_cap.line - 1].strip() == plan.soft_cap.expression
    for result in plan.codemods:
        for edit_ in result.edits:
            if edit_.before:
                assert files[result.file][edit_.line - 1] == edit_.before.split("\n")[0], result.name


def test_the_diff_turns_the_published_file_into_the_patched_one(plan: Plan, tmp_path: Path) -> None:
    for path in plan.files.changed:
        shutil.copy(MINI / path, tmp_path)
    subprocess.run(["patch", "-p1"], input=plan.diff.encode(), cwd=tmp_path, check=True, capture_output=True)
    assert {path: (tmp_path / path).read_bytes() for path in plan.files.changed} == plan.contents


def test_the_causal_head_and_checkpointing_are_changed_when_asked(plan: Plan) -> None:
    code = plan.contents["modeling_gptbert.py"]
    assert code.decode().count(CAP) == 0
    assert b"use_reentrant=False" in code and b"use_reentrant=True" not in code


def test_a_plan_needs_no_weights_and_imports_neither_torch_nor_transformers(mini: Path) -> None:
    (mini / "model.safetensors").unlink()
    code = (
        "import sys; from patcher.planning.plan import make_plan; from patcher.source.snapshot import resolve\n"
        f"make_plan(resolve({str(mini)!r}))\n"
        "import patcher.cli\n"
        "sys.exit(bool({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=MINI.parents[2]).returncode == 0


def test_the_json_form_has_the_documented_keys(plan: Plan) -> None:
    data = json.loads(json.dumps(document(plan)))
    assert set(data) == {
        "schema_version",
        "source",
        "auto_class",
        "soft_cap",
        "kept_cap",
        "encoders",
        "codemods",
        "files",
        "diff",
    }
    assert set(data["soft_cap"]) == {
        "class",
        "function",
        "file",
        "line",
        "expression",
        "scale",
        "temperature",
        *REST,
    }
    assert set(data["source"]) == {"repo_id", "revision", "path", "base_model", "base_revision"}
    assert set(data["files"]) == {"changed", "copied", "converted", "added", "dropped"}
    assert all(set(result) == {"name", "status", "file", "edits", "reason"} for result in data["codemods"])
    assert all(set(item) == {"path", "reason"} for item in data["files"]["dropped"])
    assert {"line", "before", "after"} == set(data["codemods"][0]["edits"][0])


def test_the_length_that_the_model_can_take_is_given_to_a_tokenizer_without_one(mini: Path) -> None:
    path = mini / "tokenizer_config.json"
    before = path.read_bytes()
    path.write_bytes(before.replace(b'  "model_max_length": 1024,\n', b""))
    plan = make_plan(resolve(str(mini)))
    assert "tokenizer_config.json" in plan.files.changed
    assert json.loads(plan.contents["tokenizer_config.json"]) == json.loads(before)
    assert '+  "model_max_length": 1024\n' in plan.diff
    [result] = [one for one in plan.codemods if one.name == "max_length"]
    assert (result.status, result.file) == ("applied", "tokenizer_config.json") and len(result.edits) == 1
    chosen = make_plan(resolve(str(mini)), Options.choose(["soft_cap"]))
    assert "tokenizer_config.json" in chosen.files.copied, "not where other codemods were chosen"


# Bad input


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    assert "no config.json" in refusal(tmp_path, SourceError).message


@pytest.mark.parametrize(("content", "why"), [("{", "not valid JSON"), ("[]", "not an object")])
def test_a_configuration_that_is_none_is_refused(mini: Path, content: str, why: str) -> None:
    (mini / "config.json").write_text(content)
    assert why in refusal(mini, SourceError).message


def test_a_configuration_with_a_byte_order_mark_is_refused_because_transformers_cannot_read_it(mini: Path) -> None:
    (mini / "config.json").write_bytes(b"\xef\xbb\xbf" + (mini / "config.json").read_bytes())
    assert "not valid JSON" in refusal(mini, SourceError).message


def test_line_ends_that_cannot_be_written_back_are_told(mini: Path) -> None:
    path = mini / "modeling_gptbert.py"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r"))
    assert "byte for byte" in refusal(mini, CodeError).message


@pytest.mark.parametrize(
    ("front_matter", "expected"),
    [
        ("language: no\nlicense: mit", {"language": ["no"], "license": "mit", "tags": []}),
        ("language: [no, nb, 5]\ntags: [a, 3, null, {b: c}]", {"language": ["no", "nb"], "tags": ["a"]}),
        pytest.param(
            'license: apache\u202e-2.0\nlicense_name: "x\\e[31m"\nlanguage: ["n\u200bo", se]\ntags: ["a\u3164b"]',
            {
                "license": r"apache\u202e-2.0",
                "license_name": r"x\x1b[31m",
                "language": [r"n\u200bo", "se"],
                "tags": [r"a\u3164b"],
            },
            id="invisible",
        ),
        ("license: [mit, apache-2.0]", {"license": ["mit", "apache-2.0"], "language": [], "tags": []}),
        ("license: [2024-01-01]\ntags: x", {"unreadable": True, "language": [], "tags": ["x"]}),
        ("language: [", {"unreadable": True}),
    ],
)
def test_odd_front_matter_of_the_source_never_stops_a_plan(plan: Plan, front_matter: str, expected: Any) -> None:
    card = f"\ufeff---\n{front_matter}\n---\n# Base\n".encode()
    assert replace(plan, card=card).base_card == expected


def test_the_card_of_the_source_is_in_the_plan(plan: Plan) -> None:
    assert plan.card == (MINI / "README.md").read_bytes()


def test_a_syntax_error_is_told_with_its_line(mini: Path) -> None:
    edit(mini, CAP, "        subword_prediction = 30 *\n", 1)
    line = str((MINI / "modeling_gptbert.py").read_text("utf-8").split(CAP)[0].count("\n") + 1)
    message = refusal(mini, CodeError).message
    assert "not valid Python" in message and line in message


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("ok = " + " and ".join(f"a{number}" for number in range(3000)), "nested too deeply in line"),
        ("ok = a" + " + 0" * 3000, "nested too deeply"),
        ("text = " + " ".join(f"'{number}'" for number in range(5000)), "is valid, but LibCST can't parse it: line"),
        ("table = {" + ", ".join(f"{number}: [{number}] * 3" for number in range(16000)) + "}", "nodes in its classes"),
    ],
    ids=["a condition", "a sum", "a text in parts", "a table"],
)
def test_code_that_would_take_too_long_to_follow_is_refused_with_its_place(mini: Path, lines: str, says: str) -> None:
    edit(mini, CAP, f"        {lines}\n{CAP}", 1)
    assert says in refusal(mini, CodeError).message


def test_an_unreadable_encoding_is_told(mini: Path) -> None:
    path = mini / "modeling_gptbert.py"
    path.write_bytes(b"# \xff\xfe\n" + path.read_bytes())
    assert "decoded" in refusal(mini, CodeError).message


def test_an_encoding_that_does_not_exist_is_told(mini: Path) -> None:
    path = mini / "modeling_gptbert.py"
    path.write_bytes(b"# -*- coding: klingon -*-\n" + path.read_bytes())
    assert "decoded" in refusal(mini, CodeError).message


def test_a_model_without_a_cap_is_refused_and_the_other_head_is_named(mini: Path) -> None:
    edit(mini, CAP, "", 1)
    assert "has no soft cap on the path of its logits; elsewhere in the file: line" in refusal(mini, CodeError).message


def test_two_caps_are_refused_with_their_lines(mini: Path) -> None:
    edit(mini, CAP, CAP + CAP, 1)
    assert "2 soft caps" in refusal(mini, CodeError).message


DENSE = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


@pytest.mark.parametrize("names", [None, [], ["GptBertModel"], ["GptBertForCausalLM"], "GptBertForMaskedLM"])
def test_a_base_to_which_sparse_encoder_adds_a_random_autoencoder_is_refused(mini: Path, names: Any) -> None:
    configure(mini, architectures=names)
    error = refusal(mini, SourceError)
    assert "random autoencoder" in error.message and "architectures" in error.message


def test_the_cap_of_a_dense_model_is_not_removed_and_its_code_is_repaired(mini: Path) -> None:
    (mini / "modules.json").write_text(json.dumps(DENSE))
    assert "modules.json" in refusal(mini, SourceError).message
    plan = make_plan(resolve(str(mini)), Options.choose(["repairs"]))
    assert plan.soft_cap is None and plan.encoders == () and "modules.json" in plan.files.copied


def test_an_adapter_that_transformers_would_add_is_refused(mini: Path) -> None:
    (mini / "adapter_config.json").write_text("{}")
    assert "adds that adapter" in refusal(mini, SourceError).message


def test_weights_under_a_name_of_their_own_are_refused(mini: Path) -> None:
    configure(mini, transformers_weights="other.safetensors")
    assert "transformers_weights (other.safetensors)" in refusal(mini, SourceError).message


def test_an_already_patched_model_is_recognised(patched: Path) -> None:
    plan = plan_of(patched)
    assert plan.already_patched and plan.files.changed == ()
    assert plan.soft_cap.temperature == 7.5
