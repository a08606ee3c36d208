"""The child process of a conversion, started as `python -m patcher.patching.convert_child REQUEST ANSWER`."""

from __future__ import annotations

from patcher.sandbox.child import serve

if __name__ == "__main__":
    serve("patcher.patching.pickles")
