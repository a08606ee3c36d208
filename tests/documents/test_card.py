"""The card says what the report says, in valid front matter, and its examples run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from patcher.constants import TOOL_URL
from patcher.documents import card, templating
from patcher.documents.card import render
from patcher.documents.plots import pictures
from patcher.patching.record import PatchedModel, load
from patcher.planning.files import file_table
from patcher.source.snapshot import Source
from patcher.verify.report import Check, DeviceReport, ModeReport, Report
from tests.conftest import COMMIT

Verified = tuple[Path, Report]
FIGURES = {
    "min": -41.25,
    "max": 9.5,
    "negative_fraction": 0.987654,
    "logit_sparsity": 0.987654,
    "embedding_sparsity": {"mean": 0.9912, "min": 0.9801},
    "active_dims": {"mean": 12.5, "max": 31},
}
BEFORE = {**FIGURES, "min": 0.5, "max": 29.5, "negative_fraction": 0.0, "logit_sparsity": 0.0}


def report(passed: bool = True) -> Report:
    return Report(
        source=Source("ltg/norbert4-base", COMMIT, None),
        environment={"python": "3.11", "torch": "2", "transformers": "5", "device": "cpu", "dtype": "float32"},
        checks=(Check("cap_removed_exactly", passed, 0.0, 1e-5, "largest difference"),),
        base=BEFORE,
        patched=FIGURES,
        files={},
        texts=24,
    )


@pytest.fixture
def model(patched_once: Path) -> PatchedModel:
    return replace(load(patched_once), source=Source("ltg/norbert4-base", COMMIT, None))


def rendered(model: PatchedModel, report: Report | None, **keywords: Any) -> str:
    return card.render(model, report, "somebody/norbert4-base-splade", **keywords)


def test_the_front_matter_is_what_the_hub_wants(model: PatchedModel) -> None:
    text = rendered(model, report())
    data = ModelCard(text).data.to_dict()
    assert data["language"] == ["no", "nb", "nn", "se"] and "- 'no'\n" in text
    assert data["license"] == "apache-2.0"
    assert data["base_model"] == "ltg/norbert4-base" and data["base_model_relation"] == "finetune"
    assert data["library_name"] == "transformers" and data["pipeline_tag"] == "fill-mask"
    assert "splade" in data["tags"] and "onnx" not in data["tags"]


def test_a_base_from_a_folder_claims_no_repository(patched_once: Path) -> None:
    data = ModelCard(rendered(load(patched_once), report())).data.to_dict()
    assert "base_model" not in data and "base_model_relation" not in data


def test_what_is_known_of_a_folder_s_origin_stands_in_its_provenance(patched_once: Path) -> None:
    """The notes of `hf download --local-dir` name the commit, and the user the repository."""
    found = load(patched_once)
    link = "[ltg/norbert4-base](https://huggingface.co/ltg/norbert4-base)"
    for repaired in (False, True):
        model = replace(found, soft_cap=None) if repaired else found
        for changes, said in (
            ({}, "folder `norbert4-mini`"),
            ({"base_revision": COMMIT}, f"folder `norbert4-mini`, downloaded from the Hub at commit `{COMMIT}`"),
            ({"base_model": "ltg/norbert4-base"}, f"folder `norbert4-mini` of {link}"),
        ):
            text = rendered(replace(model, source=replace(model.source, **changes)), None)
            (line,) = [line for line in text.splitlines() if line.startswith("- source: ")]
            assert line.removeprefix("- source: ").partition(", whose own")[0] == said


def test_every_figure_of_the_card_is_in_the_report(model: PatchedModel) -> None:
    text = rendered(model, report())
    table = text.partition("## Measured")[2].partition("##")[0]
    for shown in ("-41.25", "9.50", *(f"{one}\u00a0%" for one in ("98.77", "99.12", "98.01", "0.00")), "12.50", "31"):
        assert shown in table
    other = rendered(model, replace(report(), patched={**FIGURES, "max": 7.25}))
    assert (
        "7.25" in other
        and "9.50" not in other.partition("## Measured")[2].partition("##")[0].split("base model")[1].split("29.50")[1]
    )


def test_a_card_without_a_report_has_no_figures_and_says_so(model: PatchedModel) -> None:
    text = rendered(model, None)
    assert "**Not verified.**" in text and "## Measured" not in text


def test_a_failed_report_gives_a_card_that_claims_nothing(model: PatchedModel) -> None:
    text = rendered(model, report(passed=False))
    assert "**Verification failed.** `cap_removed_exactly`" in text
    assert "How to use it" not in text and "How to train" not in text and "without the cap" not in text


@pytest.mark.parametrize(
    ("level", "words"),
    [
        ("bubblewrap", "The code ran in a bubblewrap sandbox."),
        ("hook", "The code ran under an audit hook alone, which confines Python code only."),
        ("none", "The code ran without a sandbox."),
        (None, "The code ran in a sandbox that the report does not name."),
    ],
)
def test_the_card_names_the_sandbox(model: PatchedModel, level: str | None, words: str) -> None:
    one = report()
    assert words in rendered(model, replace(one, environment={**one.environment, "sandbox": level}))


@pytest.mark.parametrize("kept", [False, True], ids=["cap removed", "repairs only"])
def test_the_card_says_in_one_line_in_which_modes_of_use_the_model_was_run(model: PatchedModel, kept: bool) -> None:
    modes = (ModeReport("train", True, 0.0, ""), ModeReport("attentions", None, None, "its code returns none"))
    made = replace(model, soft_cap=None) if kept else model
    said = "\nRun in 1 modes of use: train; not run: attentions (its code returns none).\n"
    assert said in rendered(made, replace(report(), modes=modes))
    assert "modes of use" not in rendered(made, report())


def test_a_check_that_failed_on_the_second_device_alone_is_named_and_counts(model: PatchedModel) -> None:
    one = report()
    other = DeviceReport(
        {**one.environment, "device": "cuda"}, (replace(one.checks[0], passed=False, value=0.5),), BEFORE, FIGURES
    )
    text = rendered(model, replace(one, more_devices=(other,)))
    assert "**Verification failed.** `cap_removed_exactly`: largest difference." in text
    assert "| check | cpu | cuda | what the value is | limit | passed |" in text
    assert "| `cap_removed_exactly` | 0 | 0.5 | largest difference | ≤\u00a01e-05 | **no** |" in text


def test_the_card_says_what_changed_what_did_not_and_what_to_mind(model: PatchedModel) -> None:
    text = rendered(model, report())
    assert "```diff\n--- a/config.json" in text and "\n--- a/modeling_gptbert.py" in text
    assert model.weights[0].after in text and "the same as in the source" in text
    for word in (
        "bos token",
        "position 0 only",
        '`{"<s>": 1.0}`',
        "masked-LM loss",
        "causal head",
        "model.onnx",
        COMMIT,
    ):
        assert word in text
    assert len(text.partition("<details>")[0].splitlines()) + len(text.partition("</details>")[2].splitlines()) < 160


def test_a_revision_pins_every_example(model: PatchedModel) -> None:
    text = rendered(model, report(), revision="v1")
    assert text.count('revision="v1"') == 3


def test_an_undefined_name_in_the_template_is_an_error(
    model: PatchedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = (templating.templates() / card.TEMPLATE).read_text("utf-8")
    (tmp_path / card.TEMPLATE).write_text(template + "\n{{ report.sparcity }}\n", "utf-8")
    monkeypatch.setattr(templating, "templates", lambda: tmp_path)
    with pytest.raises(jinja2.UndefinedError):
        rendered(model, report())


def test_the_seal_tells_an_edited_card_from_ours(model: PatchedModel) -> None:
    text = rendered(model, report())
    assert card.is_sealed(text)
    assert card.is_sealed(text.replace("\n", "\r\n")), "a checkout on Windows is no edit"
    assert not card.is_sealed(text.replace("98.77", "99.99"))
    assert not card.is_sealed("# Mine\n")


def test_the_examples_of_the_card_run_as_they_stand(verified: Verified) -> None:
    """In one process beside the folder, as a reader would paste them; they print what the card says."""
    text = (verified[0] / "README.md").read_text("utf-8")
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert "SparseEncoder(" in snippets[0] and "AutoModelForMaskedLM" in snippets[1] and len(snippets) == 2
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(snippets)], cwd=verified[0].parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    shown = re.findall(r"````\n(.*?)\n````", text, re.DOTALL)[0]
    assert done.stdout == f"{shown}\nTrue\n" and len(shown.splitlines()) == 8
    assert "1.97 Norge" in shown, "a term as people read it"


ORDER = ("without the cap", "How to use it", "Measured", "What changed", "Limits", "Provenance", "Citation")


def test_the_card_is_in_a_visitor_s_order_and_says_all_that_the_report_knows(verified: Verified) -> None:
    folder, found = verified
    text = card.render(load(folder), found, "a/b")
    at = [text.index(heading if heading == ORDER[0] else f"\n## {heading}\n") for heading in ORDER]
    assert at == sorted(at)
    assert "$" not in text.split("<details>")[0], "the Hub shows it as it is"
    assert "logit = 30 * sigmoid(x / 7.5)" in text
    for picture in pictures(found):
        assert f"]({picture.png})\n\n*{picture.caption}*\n" in text
    for check in found.checks:
        assert templating.text(check.detail) in text
    assert "texts of up to 1,024 tokens" in text and "download and open `report.html`" in text
    assert f"On {found.texts} texts in Norwegian Bokmål, Nynorsk and Northern Sámi, cpu" in text
    assert f"[splade-patcher]({TOOL_URL})" in text


def test_texts_of_the_user_are_counted_and_never_the_example(verified: Verified, model: PatchedModel) -> None:
    mine = {**verified[1].probe_texts[0], "id": "own:line-1", "text": "Er dette hemmelig?"}
    bundled = verified[1].probe_texts
    text = rendered(model, replace(verified[1], texts=verified[1].texts + 1, probe_texts=(*bundled, mine)))
    assert f"On {len(bundled)} texts in Norwegian Bokmål, Nynorsk and Northern Sámi and 1 of the user's own" in text
    assert "hemmelig" not in rendered(model, replace(verified[1], probe_texts=(mine,)))


def test_a_configuration_that_names_no_length_makes_no_claim(model: PatchedModel, tmp_path: Path) -> None:
    assert "tokens; SparseEncoder truncates" not in rendered(replace(model, folder=tmp_path), None)


@pytest.mark.parametrize("kept", [False, True], ids=["cap removed", "repairs only"])
@pytest.mark.parametrize("lost", [(), ("model_head.pkl", "onnx/model.onnx")], ids=["nothing", "files"])
def test_the_card_lists_what_was_left_out_and_claims_every_head_only_where_nothing_was(
    model: PatchedModel, kept: bool, lost: tuple[str, ...]
) -> None:
    reasons = file_table([*lost, "README.md", "report.json", "checkpoint-2/optimizer.pt"], ()).dropped
    dropped = tuple({"path": path, "reason": reason} for path, reason in reasons.items())
    text = rendered(replace(model, soft_cap=None if kept else model.soft_cap, dropped=dropped), report())
    listed = text.partition("\nFiles of the source that are left out here:\n\n")[2].partition("\n## ")[0].splitlines()
    assert listed == [f"- `{path}`: {reasons[path]}" for path in lost] and "sigmoid" not in "".join(listed)
    assert ("every head in these files" in text) is bool(lost)
    assert ("its code repaired and nothing else changed" in text) is (kept and not lost)


def test_a_card_holds_hostile_text_as_text(patched: Path) -> None:
    model = load(patched)
    hostile = "{{ 7*7 }} {% raw %} <script>x</script> [a](javascript:b) `c` | $$d$$ \" ' \n---\nlicense: x"
    card = {
        "license": "{{ 7*7 }}\nextra: 1",
        "license_name": "a: b\n---\n<b>",
        "license_link": "javascript:alert(1)",
        "language": ["no", "{{ 7*7 }}"],
        "tags": ["norsk", "x\ny: z", "license:mit", "base_model:other/model", "{% x %}"],
    }
    diff = model.diff + " ```\n `````\n+<script>\n"
    text = render(replace(model, base_card=card, diff=diff, source=replace(model.source, path=hostile)), None, hostile)
    _, front, body = text.split("---\n", 2)
    data = yaml.safe_load(front)
    assert data["license"] == "{{ 7*7 }} extra: 1" and data["license_name"] == "a: b --- <b>"
    assert data["tags"] == ["splade", "sparse-retrieval", "raw-logits", "custom_code", "norsk"]
    assert "license_link" not in data and set(data) <= {
        "base_model_relation", "language", "library_name", "license", "license_name", "pipeline_tag", "tags"
    }  # fmt: skip
    assert "49" not in body.split("$$")[0]
    outside = body.replace(body[body.index("``````diff") : body.rindex("``````")], "")
    assert "\n---" not in outside.split("## Provenance")[0].split("## What changed")[0]
    assert templating.literal(hostile) == json.dumps(hostile)
    assert body.count("``````") == 2


COMMENT = """+    # ````
+# `````
+# @everyone <img src=x> [here](https://example.org) ![x](https://example.org/x.png) #12
+\u202e"""


@pytest.mark.parametrize("repairs_only", [False, True])
@pytest.mark.parametrize("length", [0, 2000])
def test_a_description_speaks_for_the_tool_and_never_for_the_model(
    model: PatchedModel, repairs_only: bool, length: int
) -> None:
    detail = "see www.example.org, https://example.org/a|b, @everyone, #12, [x](y), <b>, `a` ![z](y)\n| new | row |"
    checks = (replace(report().checks[0], detail=detail),)
    hostile = replace(model, diff=model.diff + COMMENT * (1 + length))
    text = card.describe_commit(hostile, replace(report(), checks=checks), repairs_only=repairs_only)
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    fences = [token for token in tokens if token.type == "fence"]
    assert len(fences) == 1 and fences[0].info == "diff" and "@everyone" in fences[0].content
    assert "(shortened)" in text if length else "\u202e" not in text and "\\u202e" in text
    inline = [child for token in tokens for child in token.children or ()]
    links = [child.attrs["href"] for child in inline if child.type == "link_open"]
    assert links == (["https://github.com/huggingface/transformers/issues/48892"] if repairs_only else [])
    assert not {child.type for child in inline} & {"image", "html_inline"}
    assert not any(token.type == "html_block" for token in tokens)
    plain = " ".join(child.content for child in inline if child.type == "text")
    assert not re.search(r"@|://|www\.|#\d", plain) and sum(token.type == "tr_open" for token in tokens) == 2


def test_a_description_says_what_was_removed_or_why_it_is_repaired(model: PatchedModel) -> None:
    said = card.describe_commit(model, None)
    assert f"`ltg/norbert4-base@{COMMIT}`" in said and "Removed: `" in said and "Not verified" in said
    said = card.describe_commit(replace(model, soft_cap=None), report(), repairs_only=True)
    assert "silently loads incorrectly on transformers 5" in said and f"as of commit `{COMMIT}`" in said
    assert (
        "`cap_removed_exactly` | yes" in said
        and "Changed: `config.json`, `configuration_gptbert.py`, `modeling_gptbert.py`" in said
    )
