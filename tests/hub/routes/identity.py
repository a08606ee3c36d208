"""Who am I, may I write here, and the calls that belong to no repository."""

from __future__ import annotations

from tests.hub.answers import PLAIN_TEXT, Answer, Call, json_answer
from tests.hub.cards import check_card
from tests.hub.routing import Route
from tests.hub.state import HubState

__all__ = ["ROUTES"]

At = dict[str, str]
TOKEN_CREATED = "2026-01-01T00:00:00.000Z"


async def whoami(state: HubState, call: Call, at: At) -> Answer:
    return json_answer(state.accounts.whoami(call.caller, TOKEN_CREATED))


async def auth_check(state: HubState, call: Call, at: At) -> Answer:
    state.readable(call, at)
    return json_answer({})


async def auth_check_write(state: HubState, call: Call, at: At) -> Answer:
    state.writable(call, at)
    return json_answer({})


async def agent_harnesses(state: HubState, call: Call, at: At) -> Answer:
    return json_answer({"standardEnvVars": [], "harnesses": {}})


async def validate_yaml(state: HubState, call: Call, at: At) -> Answer:
    check = check_card(call.json().get("content", ""))
    status = 400 if check.errors else 200
    if status == 400 and call.headers.get("Accept") == "text/plain":
        return Answer(400, "\n".join(check.errors).encode(), PLAIN_TEXT)
    return json_answer(check.body(), status)


ROUTES = (
    Route("GET", "api/whoami-v2", whoami),
    Route("GET", "api/{kind}/{ns}/{name}/auth-check", auth_check),
    Route("GET", "api/{kind}/{ns}/{name}/auth-check/write", auth_check_write),
    Route("GET", "api/agent-harnesses", agent_harnesses),
    Route("POST", "api/validate-yaml", validate_yaml),
)
