"""Untrusted text stays text in Markdown, and the templates are found."""

from __future__ import annotations

from patcher.documents import templating


def test_markdown_is_escaped_and_code_stays_code() -> None:
    assert templating.text("<a> [b](c) `d` |e| $f$ &lt; g_h _i_\nj") == (
        r"\<a\> \[b\](c) \`d\` \|e\| \$f\$ \&lt; g_h \_i\_\\nj"
    )
    assert templating.code("a`b") == "``a`b``" and templating.code("`") == "`` ` ``" and templating.code("a") == "`a`"
    assert templating.text("norbert4-mini_x.y") == "norbert4-mini_x.y"
