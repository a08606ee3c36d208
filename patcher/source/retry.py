"""How often a request to the Hub is repeated, and after how long: one policy for reading and writing."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from patcher.constants import HUB_TIMEOUT
from patcher.source.hub_errors import is_unreachable, no_network, status_of
from patcher.source.request_limit import REQUEST_LIMIT, one_try, wait_asked

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait, in seconds, and how often to try.

    `timeout` ends a request without an answer. `first_delay` precedes the second try and doubles for each further one.
    A Retry-After of at most `timeout` is obeyed; a longer one ends the command.
    """

    timeout: float = HUB_TIMEOUT
    tries: int = 4
    first_delay: float = 1.0

    def call(self, call: Callable[[], T], *, offline_too: bool = True) -> T:
        """Make a call that may be repeated, as often as the policy allows. Raises what the client raises.

        `offline_too`: also where no connection can be made at all; the local cache may answer then.
        """
        attempt = 1
        while True:
            try:
                with one_try():
                    return call()
            except Exception as error:
                if (no_network(error) and not offline_too) or not self.wait(error, attempt):
                    raise
                attempt += 1

    def wait(self, error: Exception, attempt: int) -> bool:
        """Say why and how long, and wait; False at once where there is no further try."""
        asked = retry_after(error)
        delay = self.first_delay * 2 ** (attempt - 1) if asked is None else asked
        too_long = asked is not None and asked > self.timeout
        if attempt >= self.tries or too_long or not is_transient(error):
            return False
        what = f"answered {status_of(error)}" if status_of(error) else "did not answer"
        logger.info("The Hub %s; trying again in %g s (%d of %d).", what, delay, attempt + 1, self.tries)
        time.sleep(delay)
        return True


def read_with_retry(call: Callable[[], T]) -> T:
    """Make a call that only reads, with the default policy. Without a network it fails at once: there is a cache."""
    return RetryPolicy(REQUEST_LIMIT.seconds).call(call, offline_too=False)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    status = status_of(error)
    if status is not None:
        return status in {408, 409, 429} or status >= 500
    if isinstance(error, json.JSONDecodeError):
        return True  # not an answer of the Hub: a proxy's error page, or a truncated one
    reasons = (error, error.__cause__)
    return any(is_unreachable(reason) and not isinstance(reason, OfflineModeIsEnabled) for reason in reasons)


def retry_after(error: BaseException) -> float | None:
    """The seconds to wait that the Hub asks for, None where it does not."""
    from huggingface_hub.errors import HfHubHTTPError

    response = error.response if isinstance(error, HfHubHTTPError) else None
    return None if response is None else wait_asked(response)
