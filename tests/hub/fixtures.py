"""Fixtures: a running Hub with people on it, and the environment of a client process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .server import LocalHub

__all__ = ["KARI", "LESER", "OLA", "client_env", "hub", "hub_env"]

OLA = "hf_write_ola"
KARI = "hf_write_kari"
LESER = "hf_read_leser"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    """Users `ola` and `kari` write, in the organisation `norsk` too; `leser` has a read token."""
    with LocalHub(tmp_path / "hub") as running:
        running.add_user("ola", OLA)
        running.add_user("kari", KARI)
        running.add_user("leser", LESER, role="read")
        running.add_org("norsk", {"ola": "admin", "kari": "write"})
        yield running


@pytest.fixture
def hub_env(hub: LocalHub, tmp_path: Path) -> dict[str, str]:
    """The environment for a subprocess that talks to the Hub as `ola`."""
    return client_env(hub.endpoint, tmp_path / "client-home", OLA)


def client_env(endpoint: str, home: Path, token: str | None) -> dict[str, str]:
    """The current environment without any HF_ variable, plus what points a client at `endpoint`."""
    # The client fetches this list once per home, telemetry or not: a request more or less in each test.
    home.mkdir(parents=True, exist_ok=True)
    (home / ".agent_harnesses.json").write_text('{"standardEnvVars": [], "harnesses": {}}')
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    proxies = {"http_proxy", "https_proxy", "all_proxy"}
    kept = {name: value for name, value in kept.items() if name.lower() not in proxies}
    kept |= {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_SYMLINKS_WARNING": "1",
        "NO_PROXY": "127.0.0.1",
    }
    if token is not None:
        kept["HF_TOKEN"] = token
    return kept
