"""Every fault breaks what it says it breaks, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import get_session

from tests.hub import Fault, KillAt, LocalHub
from tests.hub.client import run_client
from tests.hub.hooks import Phase


def add(content: bytes = b"a") -> list[CommitOperationAdd]:
    return [CommitOperationAdd("a.txt", content)]


def broken() -> type[Exception]:
    import httpx2

    return httpx2.TransportError


def test_a_status_hits_the_request_it_names(hub: LocalHub, api: HfApi) -> None:
    hub.create_repo("ola/x")
    fault = hub.faults.status("POST", "/commit/", 503, nth=2, times=1)
    api.create_commit("ola/x", add(), commit_message="One")
    with pytest.raises(HfHubHTTPError, match="503"):
        api.create_commit("ola/x", add(b"b"), commit_message="Two")
    api.create_commit("ola/x", add(b"c"), commit_message="Three")
    assert [commit.title for commit in hub.commits("ola/x")] == ["Three", "One", "initial commit"]
    assert hub.faults.fired == [fault]


def test_a_client_waits_as_long_as_retry_after_says(hub: LocalHub, api: HfApi) -> None:
    hub.create_repo("ola/x")
    hub.faults.status("POST", "/preupload/", 429, headers={"Retry-After": "1"})
    start = time.monotonic()
    api.create_commit("ola/x", add(), commit_message="One")
    assert time.monotonic() - start >= 1.0
    assert [r.status for r in hub.requests if "/preupload/" in r.path] == [429, 200]


def test_a_status_can_last(hub: LocalHub, api: HfApi) -> None:
    hub.faults.status("GET", "whoami", 500, times=0, body="<html>down</html>")
    for _ in range(3):
        with pytest.raises(HfHubHTTPError, match="500"):
            api.whoami(cache=False)
    hub.faults.clear()
    api.whoami(cache=False)


def test_a_delay_delays_and_then_the_work_is_done(hub: LocalHub, api: HfApi) -> None:
    hub.create_repo("ola/x")
    hub.faults.delay("GET", "/api/models/ola/x", 0.5)
    start = time.monotonic()
    api.model_info("ola/x")
    assert time.monotonic() - start >= 0.5


def test_a_dropped_request_does_nothing(hub: LocalHub, api: HfApi) -> None:
    head = hub.create_repo("ola/x")
    hub.faults.drop("POST", "/commit/")
    with pytest.raises(broken()):
        api.create_commit("ola/x", add(), commit_message="One")
    assert hub.head("ola/x") == head


def test_a_lost_answer_is_that_of_work_done(hub: LocalHub, api: HfApi) -> None:
    head = hub.create_repo("ola/x")
    hub.faults.lose_answer("POST", "/commit/")
    with pytest.raises(broken()):
        api.create_commit("ola/x", add(), commit_message="One")
    assert hub.commits("ola/x")[0].parents == (head,)
    assert hub.read("ola/x", "a.txt") == b"a"


def test_an_answer_is_cut_where_asked(hub: LocalHub) -> None:
    hub.create_repo("ola/x", {"a.txt": b"0123456789"})
    hub.faults.cut_answer("GET", "/api/resolve-cache/", after=4)
    address = f"{hub.endpoint}/ola/x/resolve/main/a.txt"
    received = b""
    with pytest.raises(broken()), get_session().stream("GET", address, follow_redirects=True) as answer:
        assert answer.headers["Content-Length"] == "10"
        for chunk in answer.iter_bytes():
            received += chunk
    assert received == b"0123"
    assert get_session().get(address, follow_redirects=True).content == b"0123456789"


def test_an_answer_of_the_api_is_cut_too(hub: LocalHub, api: HfApi) -> None:
    hub.create_repo("ola/x")
    hub.faults.cut_answer("GET", "/api/models/", after=20)
    with pytest.raises(broken()):
        api.model_info("ola/x")
    assert [r.response_bytes for r in hub.requests] == [20]


def test_a_download_goes_on_after_a_cut(hub: LocalHub, hub_env: dict[str, str]) -> None:
    content = os.urandom(1 << 20) * 25
    hub.create_repo("norsk/mini", {"model.safetensors": content})
    hub.faults.cut_answer("GET", "", after=15_000_000, origin="storage")
    code = "result = api.hf_hub_download('norsk/mini', 'model.safetensors')"
    path = run_client(hub_env, code, xet=False)
    assert Path(path).read_bytes() == content
    ranges = [r.headers.get("Range") for r in hub.requests if r.origin == "storage"]
    assert ranges == [None, f"bytes={10 << 20}-"]


def test_an_upload_that_is_cut_is_sent_again(hub: LocalHub, hub_env: dict[str, str]) -> None:
    hub.create_repo("ola/x")
    hub.faults.cut_request("PUT", "", after=300_000, origin="storage")
    code = "api.upload_file(path_or_fileobj=b'x' * 5_000_000, path_in_repo='a.bin', repo_id='ola/x')"
    run_client(hub_env, code, xet=False)
    assert hub.read("ola/x", "a.bin") == b"x" * 5_000_000
    first, second = (r.request_bytes for r in hub.requests if r.method == "PUT")
    assert 300_000 <= first < 5_000_000 == second
    assert not list((hub.root / "incoming").iterdir())


def test_a_part_that_fails_is_sent_again_alone(hub: LocalHub, hub_env: dict[str, str]) -> None:
    hub.create_repo("ola/x")
    hub.configure(multipart_threshold=100_000, part_size=100_000)
    hub.faults.status("PUT", "/2[?]", 503, origin="storage")
    code = "api.upload_file(path_or_fileobj=b'x' * 250_000, path_in_repo='a.bin', repo_id='ola/x')"
    run_client(hub_env, code, xet=False)
    assert hub.read("ola/x", "a.bin") == b"x" * 250_000
    assert [r.path.rsplit("/", 1)[-1] for r in hub.requests if r.method == "PUT"] == ["1", "2", "2", "3"]


@pytest.mark.parametrize(("phase", "done"), [("before", False), ("after", True)])
def test_a_client_killed_at_a_request_boundary(
    hub: LocalHub, hub_env: dict[str, str], phase: Phase, done: bool
) -> None:
    head = hub.create_repo("ola/x")
    hub.on_request = kill = KillAt(2, phase)
    code = (
        "from huggingface_hub import HfApi\n"
        "HfApi().upload_file(path_or_fileobj=b'a', path_in_repo='a.txt', repo_id='ola/x')"
    )
    client = subprocess.Popen([sys.executable, "-c", code], env=hub_env)
    kill.aim(client.pid)
    assert client.wait(timeout=30) == -signal.SIGKILL
    assert kill.fired
    hub.on_request = None
    assert (hub.head("ola/x") != head) == done
    assert [(r.path.split("/")[5], r.status) for r in hub.requests] == [("preupload", 200), ("commit", None)]


@pytest.mark.parametrize(("phase", "done"), [("before", False), ("after", True)])
def test_a_hook_can_close_the_connection(hub: LocalHub, api: HfApi, phase: Phase, done: bool) -> None:
    head = hub.create_repo("ola/x")
    hub.on_request = lambda record, now: now == phase and "/commit/" in record.path
    with pytest.raises(broken()):
        api.create_commit("ola/x", add(), commit_message="One")
    assert (hub.head("ola/x") != head) == done


def test_requests_are_numbered_and_counted_by_kind(hub: LocalHub, api: HfApi, hub_env: dict[str, str]) -> None:
    hub.create_repo("ola/x", {"a.txt": b"0123456789"})
    hub.reset_counters()
    api.create_commit("ola/x", add(b"x" * 3000), commit_message="One")
    records = hub.requests
    assert [(r.number, r.method, r.path) for r in records] == [
        (1, "POST", "/api/models/ola/x/preupload/main"),
        (2, "POST", "/api/models/ola/x/commit/main"),
    ]
    assert 4000 < records[1].request_bytes < 4500
    assert hub.counters.uploaded == sum(r.request_bytes for r in records)
    hub.reset_counters()
    code = "api.upload_file(path_or_fileobj=os.urandom(400_000), path_in_repo='a.bin', repo_id='ola/x')"
    run_client(hub_env, code)
    assert 400_000 <= hub.counters.xet_stored < 410_000
    hub.reset_counters()
    assert (hub.requests, hub.counters.uploaded) == ([], 0)


def test_faults_count_on_their_own(hub: LocalHub, api: HfApi) -> None:
    hub.faults.add(Fault("GET", "whoami", status=500))
    hub.faults.add(Fault("GET", "whoami", status=502, nth=2))
    seen = []
    for _ in range(3):
        seen.append(get_session().get(f"{hub.endpoint}/api/whoami-v2").status_code)
    assert seen == [500, 502, 401]
