"""Untrusted text stays text in Markdown, and the templates are found."""

from __future__ import annotations

from patcher.documents import templating


def test_markdown_is_escaped_and_code_stays_code() -> None:
    assert templating.text("<a> [b](c) `d` |e| $f$ &lt; g_h _i_\nj") == (
        r"\<a\> \[b\](c) \`d\` \|e\| \$f\$ \&lt; g_h \_i\_\\nj"
    )
    assert templating.code("a`b") == "``a`b``" and templating.code("`") == "`` ` ``" and templating.code("a") == "`a`"
    assert templating.text("norbert4-mini_x.y") == "norbert4-mini_x.y"


def test_what_would_be_a_link_or_a_mention_without_markup_is_code() -> None:
    for linked in ("@everyone", "a@b.c", "https://example.org/a_b", "WWW.example.org", "x#12"):
        assert templating.text(f"see {linked} now_") == f"see `{linked}` now\\_"


def test_a_fence_is_longer_than_any_run_of_backticks_in_the_block() -> None:
    assert templating.fence("x = 1") == "````"
    assert templating.fence("a ``` b `````` c") == "```````"


def test_a_bar_in_code_does_not_end_the_cell_of_a_table() -> None:
    assert templating.code("a | b") == "`a \\| b`"


def test_a_page_escapes_by_itself_and_markdown_does_not() -> None:
    assert templating.template("report.html.jinja").environment.autoescape is True
    assert templating.template("model_card.md.jinja").environment.autoescape is False
