"""The fixtures of the local Hub, for its own tests."""

from __future__ import annotations

import os

# Read once, when huggingface_hub is imported: its telemetry would add a request to the counted ones.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import pytest
from huggingface_hub import HfApi

from tests.hub import LocalHub
from tests.hub.fixtures import OLA, hub, hub_env

__all__ = ["api", "hub", "hub_env"]


@pytest.fixture
def api(hub: LocalHub) -> HfApi:
    """A client in this process, as `ola`."""
    return HfApi(hub.endpoint, token=OLA)
