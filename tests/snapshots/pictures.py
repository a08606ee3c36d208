"""Draws the pictures that README and docs show: the miniature, patched and verified as a user does it.

`make figures` runs this.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from patcher.documents import plots
from patcher.pipeline.api import patch_model
from patcher.planning.plan import make_plan
from patcher.source.snapshot import resolve
from patcher.verify.report import Report
from patcher.verify.settings import Verification
from patcher.verify.texts import load_probe_texts
from tests.snapshots.browser import chromium, screenshot

HERE = Path(__file__).parent
PICTURES = HERE.parents[1] / "docs" / "pictures"


def main() -> None:
    """Write the pictures; the page itself only where a browser is found."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder, report = verified(Path(name))
        for path in plots.draw(report):
            if path.endswith(".png"):
                shutil.copyfile(folder / path, PICTURES / Path(path).name)
        if chromium() is not None:
            screenshot(folder / "report.html", "#explorer", PICTURES / "explorer.png")


def verified(place: Path) -> tuple[Path, Report]:
    """The miniature, patched and verified, and its report."""
    snapshot = resolve(str(HERE / "norbert4-mini"))
    wanted = Verification(load_probe_texts(), ("cpu",))
    done = patch_model(make_plan(snapshot), snapshot, place / "norbert4-mini-splade", wanted)
    assert done.folder is not None and done.report is not None
    return done.folder, done.report


if __name__ == "__main__":
    main()
