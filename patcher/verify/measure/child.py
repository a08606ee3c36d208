"""The child process of a verification, started as `python -m patcher.verify.measure.child REQUEST ANSWER`."""

from __future__ import annotations

from patcher.sandbox.child import serve

if __name__ == "__main__":
    serve("patcher.verify.measure.pair")
