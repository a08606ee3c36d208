"""What models and Hubs say reaches a terminal, JSON and a card as text, and acts on none of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from patcher.documents import templating
from patcher.documents.card import render
from patcher.patching.record import load
from patcher.printable import one_line, printable, printable_json
from tests.conftest import Run

EVIL = "\x1b]0;title\x07\x1b[31mred\x9b2J\u202egpj\u2066\x00\x7f\r\ud800\ufeff"


def test_what_shows_nothing_by_itself_is_written_out() -> None:
    shown = printable(EVIL)
    assert shown.isprintable() and "\\x1b[31mred\\x9b2J\\u202egpj\\u2066" in shown
    assert printable("blåbær 雪 🙂\n\ttab\r\n") == "blåbær 雪 🙂\n\ttab\r\n"
    assert one_line("a\nError: b") == "a\\nError: b"


def test_json_says_the_same_in_safe_characters() -> None:
    text = printable_json(json.dumps({"å": EVIL, "\U000e0001": 1}, ensure_ascii=False, indent=1))
    assert text.replace("\n", "").isprintable() and "å" in text
    assert json.loads(text) == {"å": EVIL, "\U000e0001": 1}


@pytest.mark.parametrize("mode", [(), ("--json",), ("--quiet",)])
def test_no_command_passes_a_control_character_on(mode: tuple[str, ...], cli: Run, mini: Path, tmp_path: Path) -> None:
    path = mini / "modeling_gptbert.py"
    cap = "subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)"
    path.write_text(path.read_text().replace(f"{cap}\n", f"{cap}  # \x1b[2J \u202e \x9b\n"))
    strange = mini.rename(tmp_path / "a\x1b[31mb")
    for words in (
        ["plan", strange],
        ["plan", tmp_path / "\x1b[31m"],
        ["patch", strange, "--out", tmp_path / "o", "--no-verify"],
    ):
        done = cli(*words, *mode)
        said = (done.stdout + done.stderr).replace("\n", "").replace("\t", "")
        assert said.isprintable(), ascii(said)


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


def test_markdown_is_escaped_and_code_stays_code() -> None:
    assert templating.text("<a> [b](c) `d` |e| $f$ &lt; g_h _i_\nj") == (
        r"\<a\> \[b\](c) \`d\` \|e\| \$f\$ \&lt; g_h \_i\_\\nj"
    )
    assert templating.code("a`b") == "``a`b``" and templating.code("`") == "`` ` ``" and templating.code("a") == "`a`"
    assert templating.text("norbert4-mini_x.y") == "norbert4-mini_x.y"
