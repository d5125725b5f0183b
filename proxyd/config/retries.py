"""
When is a request asked again, and how often at most?  Options of a pool; `proxyd.policy.retries` counts.
"""

from __future__ import annotations

from typing import Any, ClassVar, Iterator, Mapping, Optional, Sequence

from attrs import frozen

from proxyd.config.limits import Rate, RateSpec
from proxyd.config.options import Count, Duration, Fail, Form, Option, Percent, parameters
from proxyd.config.reader import Word
from proxyd.config.status import statuses
from proxyd.config.words import Invalid

OFF = "off"
TIMEOUT = "timeout"


@frozen
class RetryOnSpec:
    """Which answers are not passed on if another server may be asked; ``timeout``: that none came in time."""

    statuses: frozenset[int] = frozenset()
    timeout: bool = False


@frozen
class BudgetSpec:
    """
    So many percent of the requests of ``window`` seconds may be asked again, and ``least`` in any case.

    The numbers are Finagle's (RetryBudget); Envoy and Linkerd have the same 20 percent.
    """

    share: int = 20
    least: RateSpec = RateSpec(10, 1.0)
    window: float = 10.0


class RetryOn(Form):
    """``502 503 timeout``."""

    shape: ClassVar[str] = f"a status of 400 to 599, `4xx`, `5xx` or `{TIMEOUT}`; or several"

    def parse(self, words: Sequence[Word], fail: Fail) -> RetryOnSpec:
        found: set[int] = set()
        timeout = False
        for word in words:
            if word.text == TIMEOUT:
                timeout = True
                continue
            try:
                found |= statuses(word.text)
            except Invalid as why:
                fail(word.line, f"{why}, nor {TIMEOUT}")
        return RetryOnSpec(frozenset(found), timeout)


class Budget(Form):
    """``20% least=10/s window=10s``, or ``off``."""

    shape: ClassVar[str] = f"`{OFF}`, or a whole number and %, 0% to 100%; then the parameters below"
    parameters: ClassVar[tuple[Option, ...]] = (
        Option(
            "least",
            Rate(),
            "So many may be asked again in any case, however few requests there are.",
            "least=1/s",
            default="10/s",
        ),
        Option("window", Duration(), "The share is of the requests of so long.", "window=1m", default="10s"),
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[BudgetSpec]:
        first, *rest = words
        if first.text == OFF:
            if rest:
                fail(rest[0].line, f"{OFF} stands alone")
            return None
        try:
            share = Percent().read(first)
        except Invalid as why:
            fail(first.line, f"begins with a share of the requests, or is {OFF}: {why}")
            return None
        values = parameters(rest, self.parameters, fail)
        return None if values is None else BudgetSpec(share, **values)


OPTIONS = (
    Option(
        "retries",
        Count(0, 100),
        "So many other servers are tried when one cannot be reached; and, for listeners with `protocol = "
        "http`, when one has not answered, or not well (`retry_on`), a request that may be sent twice "
        "(RFC 9110, 9.2.2) and has come whole.",
        "retries = 0",
        default="2",
    ),
    Option(
        "retry_on",
        RetryOn(),
        "For listeners with `protocol = http`: these answers are not passed on while there is another "
        "server to ask; `timeout` is that none has begun within `response_timeout`. A server that closes "
        "without an answer needs no mention.",
        "retry_on = 502 503 timeout",
        otherwise="answers are passed on, whatever they are",
    ),
    Option(
        "retry_budget",
        Budget(),
        "For listeners with `protocol = http`: at most such a share of the requests is sent to a second "
        "server behind a first one that had them, so that servers that are at their limit do not get more "
        "to do. Those count that nobody answered, those of `retry_on` and of `hedge_after`; those do not "
        "that no server has got.",
        "retry_budget = 10% least=1/s window=1m",
        default="20%",
    ),
    Option(
        "hedge_after",
        Duration(),
        "For listeners with `protocol = http`: a request without a body, that may be sent twice, is sent to "
        "a second server when the first has not begun to answer within this time; who answers first has "
        "answered, and the other connection is closed. Take a time in which 95 of 100 are answered. It is "
        "for servers that are slow now and then, and counts for the `retry_budget`.",
        "hedge_after = 50ms",
        otherwise="one server is asked at a time",
    ),
)


def contradictions(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What does not go together in a pool: each an option, and what is wrong with it."""
    if given.get("retries") == 0 and given.get("retry_on") is not None:
        yield "retry_on", "with retries = 0 no other server is ever asked"
    servers = given.get("server", {})
    if given.get("hedge_after") and len(servers) == 1 and _alone(*servers.values()):
        yield "hedge_after", "the pool has one server, and no second to ask"
    if given.get("hedge_after") and given.get("affinity") is not None:
        yield "hedge_after", "with affinity a client has one server, and no second is asked"


def _alone(server: Mapping[str, Any]) -> bool:
    return not server.get("resolve") and type(server["address"]).__name__ != "SrvAddress"
