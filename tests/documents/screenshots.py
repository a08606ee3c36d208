"""Pictures of a card and of a page as a visitor sees them, on a desk and on a telephone: to be looked at.

    python -m tests.documents.screenshots [--out FOLDER] [--folder FOLDER]

Writes `card-1280.png`, `card-380.png`, `page-1280.png` and `page-380.png` of a verified folder; without one the
miniature is patched and verified (a minute). The card is drawn with the widths and fonts of the Hub's pages.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from markdown_it import MarkdownIt

from patcher.constants import CARD, PAGE
from patcher.source.metadata import split_card
from tests.snapshots.browser import NAMES, chromium, started
from tests.snapshots.pictures import verified

WIDTHS = (1280, 380)
STYLE = """
body { font: 16px/1.6 "Source Sans Pro", system-ui, sans-serif; max-width: 768px; margin: 0 auto; padding: 0 16px;
  overflow-wrap: break-word; }
table { display: block; overflow-x: auto; border-collapse: collapse; }
td, th { border: 1px solid #ddd; padding: 4px 10px; }
pre { overflow-x: auto; background: #f6f8fa; padding: 12px; }
img { max-width: 100%; }
blockquote { border-left: 4px solid #ddd; margin-left: 0; padding-left: 12px; }
"""


def card_page(folder: Path) -> Path:
    """The card of a folder as a page beside it, so that its pictures are found."""
    body = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(
        split_card((folder / CARD).read_text("utf-8"))[1]
    )
    page = folder / "card.html"
    page.write_text(f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>{body}', "utf-8")
    return page


def take(folder: Path, out: Path) -> list[Path]:
    """Write the pictures of the card and of the page of a verified folder."""
    out.mkdir(parents=True, exist_ok=True)
    card, made = card_page(folder), []
    try:
        with started() as browser:
            for name, page in (("card", card), ("page", folder / PAGE)):
                for width in WIDTHS:
                    opened = browser.new_page(viewport={"width": width, "height": 900})
                    opened.goto(page.resolve().as_uri())
                    made.append(out / f"{name}-{width}.png")
                    opened.screenshot(path=made[-1], full_page=True)
                    opened.close()
    finally:
        card.unlink()
    return made


def main() -> int:
    """Take the pictures; 3 where there is no browser."""
    parser = argparse.ArgumentParser(prog="python -m tests.documents.screenshots", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/screenshots"), help="the folder to write")
    parser.add_argument("--folder", type=Path, help="a folder that `patcher patch` wrote and verified")
    given = parser.parse_args()
    if chromium() is None:
        print(f"There is none of {', '.join(NAMES)} on this machine.")
        return 3
    with tempfile.TemporaryDirectory() as name:
        for path in take(given.folder or verified(Path(name))[0], given.out):
            print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
