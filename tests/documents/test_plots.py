"""The pictures say what the report says, look the same everywhere, and are small and legible on light and dark."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib
import pytest
from PIL import Image

from patcher.documents import plots
from patcher.documents.formatting import percent
from patcher.documents.plots import pictures
from patcher.verify.report import Report
from tests.conftest import ROOT
from tests.documents.conftest import TOO_HIGH

Verified = tuple[Path, Report]
NAMES = ("logits", "sparsity", "active_dims")


@pytest.fixture(scope="module")
def drawn(verified: Verified) -> dict[str, bytes]:
    return plots.draw(verified[1])


def words(svg: bytes) -> str:
    return " | ".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg.decode()))


def test_a_report_that_passed_has_three_pictures_in_two_forms(drawn: dict[str, bytes]) -> None:
    assert list(drawn) == [f"plots/{name}.{kind}" for name in NAMES for kind in ("png", "svg")]


def test_the_same_report_gives_the_same_bytes_in_another_process_and_with_another_matplotlibrc(
    verified: Verified, drawn: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.grid: True\nlines.linewidth: 9\nsavefig.bbox: tight\n")
    code = (
        "import hashlib, json, sys; from pathlib import Path; from patcher.documents import plots\n"
        "from patcher.verify.report import load_report\n"
        f"drawn = plots.draw(load_report(Path({str(verified[0])!r})))\n"
        "print(json.dumps({path: hashlib.sha256(data).hexdigest() for path, data in drawn.items()}))"
    )
    import hashlib

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "MATPLOTLIBRC": str(tmp_path), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {path: hashlib.sha256(data).hexdigest() for path, data in drawn.items()}


def test_drawing_leaves_the_callers_matplotlib_as_it_was(verified: Verified) -> None:
    with matplotlib.rc_context({"font.size": 31.0}):
        plots.draw(verified[1])
        assert matplotlib.rcParams["font.size"] == 31.0


def test_the_pictures_are_small(drawn: dict[str, bytes], failed: Verified) -> None:
    for path, data in {**drawn, **plots.draw(failed[1])}.items():
        assert len(data) < 60_000, path


def test_the_ground_is_transparent(drawn: dict[str, bytes]) -> None:
    for path, data in drawn.items():
        if path.endswith(".png"):
            picture = Image.open(io.BytesIO(data)).convert("RGBA")
            assert picture.getpixel((2, 2))[3] == 0 and picture.width > 850


@pytest.mark.parametrize("ground", ["#ffffff", "#0d1117", "#0b0f19"])
@pytest.mark.parametrize("colour", [plots.INK, plots.BASE, plots.PATCHED, plots.POOLED])
def test_the_colours_are_legible_on_light_and_on_dark(colour: str, ground: str) -> None:
    """Contrast as in WCAG 2.2; 3 is its limit for graphics."""
    lighter, darker = sorted((luminance(colour), luminance(ground)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) > 3.6


def luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_logits_are_drawn_before_and_after_with_zero_marked(verified: Verified, drawn: dict[str, bytes]) -> None:
    report, said = verified[1], words(drawn["plots/logits.svg"])
    assert {"zero", "kept"} <= {one.strip() for one in said.split("|")}
    assert f"base model: {percent(report.base['logit_sparsity'])} ≤ 0" in said
    assert f"patched: {percent(report.patched['logit_sparsity'])} ≤ 0" in said


def test_the_limit_in_the_picture_is_called_what_it_is(drawn: dict[str, bytes], failed: Verified) -> None:
    made = plots.draw(failed[1])
    assert f"{TOO_HIGH * 100:g} %: limit on logit sparsity" in words(made["plots/shift.svg"])
    for svg in (drawn["plots/sparsity.svg"], made["plots/sparsity.svg"]):
        assert "limit" not in words(svg), "an axis of embedding sparsity has no limit on logit sparsity"


def test_every_probe_text_is_a_point_on_each_side(verified: Verified, drawn: dict[str, bytes]) -> None:
    for colour in (plots.BASE, plots.PATCHED):
        points = re.findall(rf"<use [^>]*fill: {colour}[^>]*>", drawn["plots/active_dims.svg"].decode())
        assert len(points) == len(verified[1].probe_texts) > 0


def test_the_curve_is_drawn_only_where_the_threshold_check_failed(drawn: dict[str, bytes], failed: Verified) -> None:
    assert not any("shift" in path for path in drawn)
    said = words(plots.draw(failed[1])["plots/shift.svg"])
    reached = next(row for row in failed[1].patched["curve"] if row["logit_sparsity"] > TOO_HIGH)
    assert f"{reached['shift']:.3g} reaches it" in said and f"{TOO_HIGH * 100:g} %: limit" in said


def test_the_words_for_a_picture_hold_its_figures(verified: Verified, failed: Verified) -> None:
    by_name = {picture.name: picture.alt for picture in (*pictures(verified[1]), *pictures(failed[1]))}
    assert set(by_name) == {*NAMES, "shift"}
    after = verified[1].patched
    assert percent(after["logit_sparsity"]) in by_name["logits"]
    assert percent(after["by_length"][0]["median"]) in by_name["sparsity"]
    assert f"to {after['active_dims']['max']:,}." in by_name["active_dims"]
    assert percent(after["curve"][0]["embedding_sparsity"]) in by_name["shift"]


def test_a_report_without_figures_has_no_pictures(verified: Verified) -> None:
    assert plots.draw(replace(verified[1], base={}, patched={}, probe_texts=())) == {}


def test_figures_that_were_not_finite_leave_no_trace_of_a_crash(verified: Verified) -> None:
    """min and max are null where nothing finite was met, and the histogram is empty."""
    nothing = {
        **verified[1].patched,
        "min": None,
        "max": None,
        "histogram": {"first": 0.0, "width": 0.25, "counts": []},
    }
    found = plots.draw(replace(verified[1], patched=nothing))
    assert "plots/logits.png" not in found and "plots/sparsity.png" in found


def test_writing_removes_the_pictures_of_an_earlier_report(drawn: dict[str, bytes], tmp_path: Path) -> None:
    plots.write({**drawn, "plots/shift.png": b"old"}, tmp_path)
    assert (tmp_path / "plots" / "shift.png").exists()
    plots.write(drawn, tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")) == sorted(drawn)


def test_a_home_that_can_not_be_written_to_is_no_trouble_and_no_talk(verified: Verified) -> None:
    code = (
        "from pathlib import Path; from patcher.documents import plots; from patcher.verify.report import load_report\n"
        f"print(len(plots.draw(load_report(Path({str(verified[0])!r})))))"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL"))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**kept, "HOME": "/proc/nobody"}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "6", "")
