"""Pickled weights, for the tests of their conversion."""

from __future__ import annotations

from tests.pipeline.conftest import pickled  # noqa: F401
