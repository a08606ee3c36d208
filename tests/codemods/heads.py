"""Small heads with the cap of NorBERT4, and the comment that is left in its place."""

from __future__ import annotations

from patcher.codemods import Applied, Code
from tests.codemods.tools import HOME, assert_only_intended, run

MARK = (
    "# splade-patcher: removed `{}` (sigmoid, scale 30, temperature 7.5); "
    "a sigmoid is never negative, so ReLU in SPLADE gave no zeros."
)
NORBERT = "x = 30 * torch.sigmoid(x / 7.5)"
KEY = "if self.config.cap is not None:", "    x = self.config.cap * torch.sigmoid(x / self.config.cap)"


def head(*body: str, name: str = "Head") -> str:
    """A class whose forward has these lines."""
    lines = "".join(f"        {line}\n" for line in body)
    return f"class {name}(Model):\n    def forward(self, x):\n{lines}"


def head_file(*body: str, top: str = "") -> str:
    """A file that imports torch, with more code above the head."""
    return f"import torch\n{top}{head(*body)}"


def only_the_cap_goes(code: str | bytes, encoding: str = "utf-8") -> str:
    """The new text: every line but that of the cap is the same, byte for byte, and a second run changes nothing."""
    before = code.encode(encoding) if isinstance(code, str) else code
    outcome = run("soft_cap", before)
    assert isinstance(outcome, Applied), outcome
    old, new = before.split(b"\n"), outcome.code.split(b"\n")
    assert len(old) == len(new)
    changed = [(one, other) for one, other in zip(old, new, strict=True) if one != other]
    assert len(changed) == 1 and NORBERT.encode() in changed[0][0] and b"splade-patcher: removed" in changed[0][1]
    text = Code(HOME, outcome.code, {}).text
    assert_only_intended(before.decode(encoding), text, outcome.spans, HOME)
    assert not isinstance(run("soft_cap", outcome.code), Applied)
    return text
