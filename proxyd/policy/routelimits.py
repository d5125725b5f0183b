"""Do too many requests take a route, or too many of one client, or of one key?"""

from __future__ import annotations

from hashlib import blake2b
from typing import Optional

from proxyd.config.route import RouteSpec
from proxyd.errors import Reason
from proxyd.policy.admission import Refusal
from proxyd.policy.asked import Asked
from proxyd.policy.limits import MOST_CLIENTS, ClientRates, Rate

_LONGEST_VALUE = 40  # bytes of a field's value that is remembered as it is


class RouteLimits:
    """The counts of one route for requests, at all its listeners; who is let in must be counted out again."""

    def __init__(self, spec: RouteSpec, most_clients: int = MOST_CLIENTS) -> None:
        action = self._action = spec.action
        self.open = 0
        self._rate = Rate(action.request_rate) if action.request_rate is not None else None
        rate, by_path = action.request_rate_per_client, action.request_rate_per_path
        self._client_rates = ClientRates(rate, most_clients) if rate is not None else None
        self._path_rates = ClientRates(by_path, most_clients) if by_path is not None else None
        self._header_rates = [
            (name, ClientRates(each, most_clients), each) for name, each in action.request_rate_per_header
        ]

    @property
    def none(self) -> bool:
        """Whether nothing is limited, so that nobody need be counted."""
        rates = (self._rate, self._client_rates, self._path_rates)
        rated = any(rate is not None for rate in rates) or self._header_rates
        return not (rated or self._action.max_concurrent_requests)

    def refusal(self, asked: Asked, key: bytes, now: float) -> Optional[Refusal]:
        """Why a request of a client (`prefix_of`) may not pass now; if it may, it is to be counted in."""
        action = self._action
        if self._client_rates is not None and not self._client_rates.take(key, now):
            return Refusal(Reason.ROUTE_RATE, f"request_rate_per_client = {action.request_rate_per_client}")
        if self._path_rates is not None and not self._path_rates.take(_short(asked.target.plain), now):
            return Refusal(Reason.ROUTE_RATE, f"request_rate_per_path = {action.request_rate_per_path}")
        for name, rates, spec in self._header_rates:
            value = ", ".join(asked.values(name)).encode("utf-8", "surrogateescape")
            if not rates.take(_short(value), now):
                return Refusal(Reason.ROUTE_RATE, f"request_rate_per_header {name} = {spec}")
        if 0 < action.max_concurrent_requests <= self.open:
            most = action.max_concurrent_requests
            return Refusal(Reason.ROUTE_FULL, f"max_concurrent_requests = {most}")
        if self._rate is not None and not self._rate.take(now):
            return Refusal(Reason.ROUTE_RATE, f"request_rate = {action.request_rate}")
        return None


def _short(value: bytes) -> bytes:
    """What a value is counted as: it may be as long as a head, and many are remembered."""
    return value if len(value) <= _LONGEST_VALUE else blake2b(value, digest_size=_LONGEST_VALUE + 1).digest()
