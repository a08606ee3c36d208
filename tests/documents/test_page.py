"""report.html is whole, quiet and safe whatever a model calls itself, and lies beside its report."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from patcher.constants import CARD, PAGE, PLOTS, REPORT
from patcher.documents import page, plots
from patcher.errors import OutputError
from patcher.patching.record import PatchedModel, load
from patcher.patching.staging import check_output, unrecorded
from patcher.pipeline.folder import describe
from patcher.planning.files import dropped_because
from patcher.publish.operations import published_files
from patcher.publish.publishable import patched
from patcher.source.snapshot import Source
from patcher.verify.report import Check, Report
from patcher.verify.verification import hash_folder

Verified = tuple[Path, Report]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028--><!--"


class Reader(HTMLParser):
    """The elements, attributes and scripts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [str(value) for name, value in attrs if name == "id"]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and not self.scripts[-1]:
            self.scripts[-1] = data


def written(verified: Verified) -> str:
    return (verified[0] / PAGE).read_text("utf-8")


def rendered(model: PatchedModel, report: Report, name: str = "norbert4-mini-splade") -> str:
    return page.render(model, report, {}, name)


def test_verifying_writes_the_page_and_the_pictures_beside_the_report(verified: Verified) -> None:
    folder, report = verified
    assert f"Passed all {len(report.checks)} checks" in written(verified)
    assert sorted(path.name for path in (folder / "plots").iterdir()) == sorted(
        f"{name}.{kind}" for name in ("logits", "sparsity", "active_dims") for kind in ("png", "svg")
    )
    assert not list(folder.rglob("*.partial"))


def test_the_card_shows_the_pictures_with_their_figures_in_words(verified: Verified, failed: Verified) -> None:
    for folder, names in ((verified[0], 3), (failed[0], 4)):
        shown = re.findall(r"!\[([^\]]+)\]\((plots/\w+\.png)\)", (folder / CARD).read_text("utf-8"))
        assert len(shown) == names and all(
            ((folder / path).is_file() and "%" in alt) or "dim" in alt for alt, path in shown
        )


def test_page_and_card_name_a_source_folder_but_not_its_place_on_this_machine(
    verified: Verified, failed: Verified, tmp_path: Path
) -> None:
    for folder, report in (verified, failed):
        out = Path(shutil.copytree(folder, tmp_path / folder.name))
        here = Source(None, None, "the-base", folder=Path("/home/private/the-base"))
        describe(replace(load(out), source=here), replace(report, source=here), "model")
        for path in (PAGE, CARD):
            text = (out / path).read_text("utf-8")
            assert "the-base" in text and "private" not in text


def test_the_card_shows_no_picture_that_is_not_there(verified: Verified, tmp_path: Path) -> None:
    from patcher.documents import card

    bare = replace(load(verified[0]), folder=tmp_path)
    assert "![" not in card.render(bare, verified[1], "x/y")


def test_the_page_is_about_the_other_files_and_no_report_hashes_it(verified: Verified) -> None:
    assert set(hash_folder(verified[0])) == set(verified[1].files)
    assert not {PAGE, REPORT, CARD} & set(verified[1].files)
    assert not any(path.startswith("plots/") for path in verified[1].files)


def test_a_verified_folder_may_be_replaced_and_one_with_somebody_elses_picture_may_not(
    verified: Verified, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(verified[0], tmp_path / "model"))
    check_output(folder)
    assert unrecorded(folder, [file.path for file in load(folder).files]) == ()
    (folder / "plots" / "mine.png").write_bytes(b"somebody's work")
    with pytest.raises(OutputError, match=r"plots/mine\.png"):
        check_output(folder)


@pytest.mark.parametrize("path", ["report.html", "report.html/index.html", "plots", *PLOTS])
def test_a_source_that_has_such_a_file_itself_leaves_the_place_to_ours(path: str) -> None:
    assert dropped_because(path) == "replaced by what is drawn from the report"
    assert dropped_because("plots/loss.png") is None and dropped_because("docs/report.html") is None


def test_the_page_opens_on_a_question_and_shows_every_text(verified: Verified) -> None:
    probes = json.loads(Reader(written(verified)).scripts[0])
    assert probes[0]["text"] == "Hva er hovedstaden i Norge?"
    assert sorted(one["id"] for one in probes) == sorted(one["id"] for one in verified[1].probe_texts)


def test_a_published_page_is_titled_after_its_repository(verified: Verified) -> None:
    for name, title in (("norbert4-nb-splade", "norbert4-nb-splade"), (None, verified[0].name)):
        sent = {file.path: file for file in published_files(patched(load(verified[0])), verified[1], "card", name)}
        assert f"<title>{title}: verified</title>" in sent[PAGE].read().decode()


def test_the_same_report_gives_the_same_page(verified: Verified, model: PatchedModel) -> None:
    assert page.render(model, verified[1], plots.draw(verified[1]), verified[0].name) == written(verified)


def test_a_published_page_does_not_say_where_the_source_folder_lies(verified: Verified, model: PatchedModel) -> None:
    source = Path(__file__).parents[1] / "snapshots" / "norbert4-mini"
    assert model.source.path == source.name and str(source.parent) not in written(verified)
    sent = {file.path: file for file in published_files(patched(model), verified[1], "card")}
    text = sent[PAGE].read().decode()
    assert source.name in text and str(source.parent) not in text
    assert text.count("<svg") == 3 and sent["plots/logits.png"].size > 1000
    assert not {PAGE, "plots/logits.png"} & {file.path for file in published_files(patched(model), None, "card")}


def test_nothing_is_loaded_from_anywhere(verified: Verified, failed: Verified) -> None:
    for text in (written(verified), written(failed)):
        for tag, attributes in Reader(text).tags:
            for name in ("src", "href", "xlink:href", "action", "data"):
                value = attributes.get(name)
                assert value is None or value.startswith(("#", "data:,")) or tag == "a", (tag, attributes)
        assert "@import" not in text and not re.search(r"url\((?!#)", text)


def test_the_policy_allows_the_one_script_and_nothing_else(verified: Verified) -> None:
    read = Reader(written(verified))
    policy = next(a["content"] for tag, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(read.scripts[-1].encode()).digest()).decode()
    assert policy and "default-src 'none'" in policy and f"script-src 'sha256-{digest}';" in policy


def test_no_id_stands_twice(failed: Verified) -> None:
    ids = Reader(written(failed)).ids
    assert len(ids) == len(set(ids)) > 20


def test_hostile_names_texts_and_details_stay_text(verified: Verified, model: PatchedModel) -> None:
    quiet = Reader(rendered(model, verified[1]))
    probe: dict[str, Any] = {
        **verified[1].probe_texts[0],
        "id": HOSTILE,
        "text": HOSTILE,
        "language": HOSTILE,
        "before": {"active_dims": 1, "terms": [[HOSTILE, 1.0]]},
    }
    report = replace(
        verified[1],
        probe_texts=(probe, *verified[1].probe_texts[1:]),
        checks=(Check(HOSTILE, True, 0, 0, HOSTILE), *verified[1].checks[1:]),
        environment={**verified[1].environment, "device": HOSTILE, "sandbox": HOSTILE, "denied": [HOSTILE]},
        files={HOSTILE: HOSTILE},
    )
    cap = replace(model.soft_cap, expression=HOSTILE, file=HOSTILE, class_name=HOSTILE)
    bad = replace(model, source=Source(HOSTILE, HOSTILE, None), soft_cap=cap, diff=f"+{HOSTILE}\n-{HOSTILE}")
    read = Reader(rendered(bad, report, HOSTILE))
    assert [tag for tag, _ in read.tags if tag in {"script", "img"}] == ["script", "script"]
    assert len(read.scripts) == len(quiet.scripts) == 2 and read.scripts[1] == quiet.scripts[1]
    found = [one for one in json.loads(read.scripts[0]) if one["id"] == HOSTILE]
    assert found[0]["text"] == HOSTILE and found[0]["lang"] == "" and found[0]["before"]["terms"] == [[HOSTILE, 1.0]]
    assert not any(str(a.get("href", "")).startswith("https") for _, a in read.tags), "no link to a name that is none"


def test_the_page_names_the_sandbox_and_what_was_denied(verified: Verified, model: PatchedModel) -> None:
    denied = "start a process (subprocess.Popen: '<nvidia-smi>')"
    environment = {**verified[1].environment, "sandbox": "none", "denied": [denied]}
    text = rendered(model, replace(verified[1], environment=environment))
    assert "float32, without a sandbox</dd>" in text
    assert "<dt>Denied</dt><dd>start a process (subprocess.Popen: &#39;&lt;nvidia-smi&gt;&#39;)</dd>" in text


def test_data_in_a_script_can_not_end_it() -> None:
    made = page.as_script([HOSTILE, "a & b"])
    assert not re.search("[<>&\u2028\u2029]", made) and json.loads(made) == [HOSTILE, "a & b"]


def test_a_failed_threshold_check_leads_to_a_decision_on_the_page_and_in_the_card(failed: Verified) -> None:
    text, card = written(failed), (failed[0] / CARD).read_text("utf-8")
    assert "Failed 1 of" in text
    for told in (text, card):
        assert "has to exceed 99.985 %" in told and "--min-logit-sparsity 0.99" in told
        assert "--calibrate 0.99985" in told and "shift" in told


def test_a_shift_is_said_on_the_page_and_in_the_card(verified: Verified, model: PatchedModel) -> None:
    from patcher.documents import card

    shifted = replace(model, soft_cap=replace(model.soft_cap, shift=1.25))
    for made in (rendered(shifted, verified[1]), card.render(shifted, verified[1], "x/y")):
        assert "logits are shifted:" in made and "1.25 is subtracted from every logit" in made
    assert "shifted:" not in rendered(model, verified[1]) + card.render(model, verified[1], "x/y")


def test_a_report_of_an_older_version_still_makes_a_page(verified: Verified, model: PatchedModel) -> None:
    def older(figures: Any) -> dict[str, Any]:
        return {key: value for key, value in figures.items() if key not in {"histogram", "by_length", "curve"}}

    report = replace(verified[1], base=older(verified[1].base), patched=older(verified[1].patched), probe_texts=())
    text = page.render(model, report, plots.draw(report), "x")
    assert "explorer" not in Reader(text).ids and "<svg" not in text and "logit sparsity" in text


def test_a_model_that_did_not_run_still_makes_a_page(verified: Verified, model: PatchedModel) -> None:
    checks = tuple(
        replace(c, passed=False, value=None, detail="the model did not run: boom") for c in verified[1].checks
    )
    report = replace(verified[1], checks=checks, base={}, patched={}, probe_texts=())
    text = page.render(model, report, plots.draw(report), "x")
    assert "did not run: boom" in text and "decide" not in Reader(text).ids


def test_the_texts_carry_their_language(verified: Verified) -> None:
    languages = {probe["language"] for probe in json.loads(Reader(written(verified)).scripts[0])}
    assert {"nb", "nn", "se"} <= languages


def test_describing_again_without_a_report_removes_what_was_drawn(verified: Verified, patched: Path) -> None:
    plots.write(plots.draw(verified[1]), patched)
    (patched / PAGE).write_text("old")
    describe(load(patched), None, "x")
    assert not (patched / PAGE).exists() and not list(patched.glob("plots/*"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_have_a_contrast_of_at_least_four_and_a_half(scheme: str) -> None:
    from tests.documents.test_plots import luminance

    css = (page.templates() / "report.css").read_text()
    block = css.split("@media (prefers-color-scheme: dark)")[scheme == "dark"]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", block.split("}")[0]))
    grounds = ["paper", "panel"]
    pairs = [(ink, ground) for ink in ("ink", "soft", "base", "patched", "pooled", "good", "bad") for ground in grounds]
    for ink, ground in (*pairs, ("ink", "added"), ("ink", "removed")):
        one, other = sorted((luminance(colours[ink]), luminance(colours[ground])))
        assert (other + 0.05) / (one + 0.05) >= 4.5, (ink, ground)
