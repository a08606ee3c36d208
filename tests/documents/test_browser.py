"""The page in a real browser: nothing on the console, nothing from the network, usable by keyboard and at 380 px."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from patcher.constants import PAGE
from patcher.verify.report import Report
from tests.documents import screenshots
from tests.snapshots.browser import NAMES, chromium, started

Verified = tuple[Path, Report]

pytestmark = pytest.mark.skipif(chromium() is None, reason=f"none of {', '.join(NAMES)} on this machine")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started() as running:
        yield running


class Opened:
    """A page in the browser, with everything it said on the console and asked of a network."""

    def __init__(self, browser: Any, path: Path, width: int = 1200, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def focused(self) -> str:
        return str(self.page.evaluate("document.activeElement.id || document.activeElement.tagName"))


def test_a_person_clicks_through_the_explorer(browser: Any, verified: Verified) -> None:
    probes = sorted(verified[1].probe_texts, key=lambda probe: not probe["text"].endswith("?"))
    with Opened(browser, verified[0] / PAGE) as opened:
        page = opened.page
        assert page.locator("#texts [role=option]").count() == len(probes)
        assert page.locator("#words").inner_text() == probes[0]["text"], "the first text is shown at once"
        page.locator("#text-3").click()
        assert page.locator("#words").inner_text().split() == probes[3]["text"].split()
        assert page.locator("#words").get_attribute("lang") == probes[3]["language"]
        for side, name in (("before", "base"), ("after", "patched")):
            shown = page.locator(f"#{name}-terms li").all_inner_texts()
            assert [line.split()[-1] for line in shown] == [f"{weight:.2f}" for _, weight in probes[3][side]["terms"]]
            assert f"{probes[3][side]['active_dims']:,} active dim" in page.locator(f"#{name}-dims").inner_text()
        page.locator("#language").select_option("se")
        sami = [probe for probe in probes if probe["language"] == "se"]
        assert page.locator("#texts [role=option]:visible").count() == len(sami) > 0
        assert page.locator("#words").inner_text().split() == sami[0]["text"].split(), (
            "a text that is hidden is not shown"
        )
        page.locator("#query").fill("no text says this")
        assert page.locator("#count").inner_text() == f"0 of {len(probes)} texts"
        assert not page.locator("#text").is_visible()
        page.locator("#query").fill("")
        page.locator("#language").select_option("")
        page.locator("#length").select_option("129-")
        assert page.locator("#texts [role=option]:visible").count() == sum(probe["tokens"] >= 129 for probe in probes)
        page.locator("summary").click()
        assert page.get_by_text("model.safetensors").first.is_visible()
        assert opened.said == []
        assert opened.asked == [(verified[0] / PAGE).as_uri()]


def test_the_keyboard_reaches_and_does_everything(browser: Any, verified: Verified) -> None:
    with Opened(browser, verified[0] / PAGE) as opened:
        page = opened.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        met = []
        for _ in range(60):
            page.keyboard.press("Tab")
            met.append(opened.focused())
            style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert style != "none", f"{met[-1]} shows no focus"
            if met[-1] == "texts":
                break
        assert [name for name in met if name in {"query", "language", "length", "texts"}] == [
            "query",
            "language",
            "length",
            "texts",
        ]
        last = len(verified[1].probe_texts) - 1
        for key, chosen in (
            ("ArrowDown", 1),
            ("ArrowDown", 2),
            ("ArrowUp", 1),
            ("End", last),
            ("ArrowDown", last),
            ("Home", 0),
        ):
            page.keyboard.press(key)
            assert page.locator("#texts").get_attribute("aria-activedescendant") == f"text-{chosen}", key
            assert page.locator("[aria-selected=true]").count() == 1
        assert opened.said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["verified", "failed"])
def test_it_is_readable_on_a_telephone(browser: Any, which: str, scheme: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(which)[0]
    with Opened(browser, folder / PAGE, 380, scheme) as opened:
        assert opened.page.evaluate("document.documentElement.scrollWidth") == 380
        ground = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(ground.split("(")[1].split(",")[0]) < 60) == (scheme == "dark")
        cut = opened.page.evaluate(
            "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, #texts, .unseen, thead, .term')"
            " && e.getBoundingClientRect().right > 380.5).map(e => e.outerHTML.slice(0, 80))"
        )
        assert cut == [] and opened.said == []
        assert opened.page.evaluate(LABELS) == [], "labels of a plot touch, or leave it"


# Pairs of labels of one plot that overlap by more than a pixel, and labels that leave their plot.
LABELS = """
[...document.querySelectorAll('.plot svg')].flatMap(svg => {
  const frame = svg.getBoundingClientRect(), labels = [...svg.querySelectorAll('text')];
  const boxes = labels.map(label => label.getBoundingClientRect());
  const touching = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
  return boxes.flatMap((a, i) => [
    ...(a.right > frame.right + 1 || a.left < frame.left - 1 ? [labels[i].textContent] : []),
    ...boxes.flatMap((b, j) => j > i && touching(a, b) ? [labels[i].textContent + ' | ' + labels[j].textContent] : []),
  ]);
})
"""


# The figures in the tables of a card that stand on more than one line.
BROKEN_CELLS = """
[...document.querySelectorAll('td')].filter(cell => /^[>≤]?\\s?[\\d.,]+\\s(%|[kMG]?B)$/.test(cell.innerText.trim()))
  .filter(cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1;
  }).map(cell => cell.innerText)
"""


def test_no_figure_of_a_card_is_divided_on_a_telephone(browser: Any, verified: Verified, tmp_path: Path) -> None:
    folder = shutil.copytree(verified[0], tmp_path / "model")
    with Opened(browser, screenshots.card_page(folder), 380) as opened:
        assert opened.page.locator("td").count() > 40
        assert opened.page.evaluate(BROKEN_CELLS) == []
        assert opened.page.evaluate("document.documentElement.scrollWidth") == 380


def test_a_hostile_text_is_shown_and_not_run(browser: Any, verified: Verified, tmp_path: Path) -> None:
    from dataclasses import replace

    from patcher.documents import page
    from patcher.patching.record import load

    text = "</script><script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">"
    probe = {**verified[1].probe_texts[0], "text": text, "after": {"active_dims": 1, "terms": [[text, 1.0]]}}
    made = page.render(load(verified[0]), replace(verified[1], probe_texts=(probe,)), {}, text)
    (tmp_path / PAGE).write_text(made, "utf-8")
    with Opened(browser, tmp_path / PAGE) as opened:
        assert opened.page.locator("#words").inner_text() == text
        assert opened.page.locator("#patched-terms .term").inner_text() == text
        assert opened.page.title() != "taken" and opened.said == []
        assert opened.asked == [(tmp_path / PAGE).as_uri()]
