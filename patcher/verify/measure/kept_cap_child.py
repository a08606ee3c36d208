"""The child process for a model whose cap stays: `python -m patcher.verify.measure.kept_cap_child REQUEST ANSWER`."""

from __future__ import annotations

from patcher.sandbox.child import serve

if __name__ == "__main__":
    serve("patcher.verify.measure.kept_cap")
