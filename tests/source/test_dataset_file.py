"""A file of a data set on the Hub is an input like any other; what is not there is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from patcher.errors import UsageError
from patcher.source.dataset_file import fetch_input
from tests.conftest import ROOT
from tests.hub import LocalHub
from tests.hub.fixtures import OLA

FILE = "hf://datasets/ola/texts/data/t.jsonl"
CODE = """
import sys
from patcher.source.dataset_file import fetch_input
for spec in sys.argv[1:]:
    try:
        print(fetch_input(spec).read_text().strip())
    except Exception as error:
        print(type(error).__name__, error.message)
"""


@pytest.fixture
def texts(hub: LocalHub) -> None:
    api = HfApi(endpoint=hub.endpoint, token=OLA)
    api.create_repo("ola/texts", repo_type="dataset")
    content = b'{"_id": "a", "passage": "Kari."}\n'
    api.upload_file(path_or_fileobj=content, path_in_repo="data/t.jsonl", repo_id="ola/texts", repo_type="dataset")


def fetched(environment: Mapping[str, str], *specs: str) -> list[str]:
    """What a process with that environment reads, or the error, a line each."""
    command = [sys.executable, "-c", CODE, *specs]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.usefixtures("texts")
def test_a_file_is_fetched_and_serves_without_a_network_and_what_is_not_there_is_told(
    hub: LocalHub, hub_env: dict[str, str]
) -> None:
    content = '{"_id": "a", "passage": "Kari."}'
    assert fetched(
        hub_env,
        FILE,
        "hf://datasets/ola/texts@main/data/t.jsonl",
        "hf://datasets/ola/texts/no.jsonl",
        "hf://datasets/ola/nothing/t.jsonl",
        "hf://datasets/ola/texts@gone/data/t.jsonl",
    ) == [
        content,
        content,
        "SourceError The dataset ola/texts has no file no.jsonl.",
        "SourceError There is no dataset ola/nothing on the Hub, or it is private.",
        "SourceError datasets/ola/texts has no revision 'gone'.",
    ]
    hub.stop()
    offline = {**hub_env, "HF_HUB_OFFLINE": "1"}
    found, missing = fetched(offline, FILE, "hf://datasets/ola/texts/other.jsonl")
    assert found == content and missing.startswith("HubUnreachable ")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("hf://datasets/ola/texts", "does not name a file of a dataset"),
        ("hf://ola/model/t.jsonl", "does not name a file of a dataset"),
        ("hf://", "is not the URI of a file on the Hub"),
    ],
)
def test_a_uri_of_another_form_is_wrong_usage(spec: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        fetch_input(spec)


def test_a_local_path_stays_as_it_is() -> None:
    assert fetch_input("texts/t.jsonl") == Path("texts/t.jsonl")
