"""The child process of a threshold, started as `python -m patcher.threshold.child REQUEST ANSWER`."""

from __future__ import annotations

from patcher.sandbox.child import serve

if __name__ == "__main__":
    serve("patcher.threshold.embeddings")
