"""
Are there too many clients at a listener, or too many of one, or do they come too fast?

What is looked at first costs least: the listener's own counts, then those of the client.  A client is the
network of so many bits that its address is in.  A rate is held by the generic cell rate algorithm (ITU-T
I.371): one number a client, no timer, and the whole amount at once if none came before.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from math import inf
from typing import Optional

from proxyd.config.limits import RateSpec
from proxyd.config.listener import ListenerSpec
from proxyd.config.proxyprotocol import Network
from proxyd.errors import Reason
from proxyd.policy.admission import Refusal

# Clients whose rate is remembered.  One who has come less often than it might is forgotten; beyond this many
# the ones that came first are, too: addresses that are sprayed cost an entry each, and no more than this.
MOST_CLIENTS = 100_000

_ROUNDED = 1e-6  # seconds; what sums of times may be off by


def prefix_of(client: bytes, prefix4: int, prefix6: int) -> bytes:
    """The network that a client (`proxyd.policy.lists.client_bytes`) is in, as bytes that no other has."""
    bits = len(client) * 8
    prefix = prefix4 if bits == 32 else prefix6
    if prefix >= bits:
        return client
    if prefix == 64:
        return client[:8]
    # Of a length that no address has, nor the half of one.
    return (int.from_bytes(client, "big") >> (bits - prefix)).to_bytes(16, "big") + bytes((bits,))


def network_of_key(key: bytes, prefix4: int, prefix6: int) -> Network:
    """The network that a key of `prefix_of` stands for."""
    if len(key) in (4, 16):
        return ipaddress.ip_network(key)
    if len(key) == 8:
        return ipaddress.ip_network((key + bytes(8), 64))
    bits = key[16]
    prefix = prefix4 if bits == 32 else prefix6
    address = int.from_bytes(key[:16], "big") << (bits - prefix)
    return ipaddress.ip_network((address.to_bytes(bits // 8, "big"), prefix))


class Rate:
    """Whether one more may come now, of all that share one allowance."""

    __slots__ = ("_began", "_due", "_each", "_slack")

    def __init__(self, spec: RateSpec) -> None:
        self._each = spec.seconds / spec.count
        self._slack = spec.seconds - self._each
        self._began: Optional[float] = None  # the first time: floats are exact to us only since then
        self._due = -inf  # when the allowance is whole again, from then on

    def take(self, now: float) -> bool:
        """Take one of what is allowed, if there is one."""
        if self._began is None:
            self._began = now
        now -= self._began
        owed = max(0.0, self._due - now)  # the seconds until it is whole again
        if owed > self._slack + _ROUNDED:
            return False
        self._due = now + owed + self._each
        return True


class ClientRates:
    """The same for each of many clients."""

    def __init__(self, spec: RateSpec, most: int = MOST_CLIENTS) -> None:
        self._each = spec.seconds / spec.count
        self._slack = spec.seconds - self._each
        self._most = most
        self._began: Optional[float] = None  # as for one
        self._due: OrderedDict[bytes, float] = OrderedDict()  # the one who came last at the end

    def __len__(self) -> int:
        return len(self._due)

    def take(self, client: bytes, now: float) -> bool:
        """Take one of what is allowed to the client, if there is one."""
        if self._began is None:
            self._began = now
        now -= self._began
        dues = self._due
        owed = max(0.0, dues.get(client, -inf) - now)
        if owed > self._slack + _ROUNDED:
            return False
        dues[client] = now + owed + self._each
        dues.move_to_end(client)
        # Two go for each that comes, so those whose allowance is whole again do not pile up.
        for _ in range(2):
            first = next(iter(dues))
            if dues[first] > now and len(dues) <= self._most:
                break
            del dues[first]
        return True


class Limits:
    """The counts of one listener; who is let in must be counted in, and counted out again."""

    def __init__(self, spec: ListenerSpec, most_clients: int = MOST_CLIENTS) -> None:
        self._spec = spec
        self.open = 0
        self.handshakes = 0
        self.clients: dict[bytes, int] = {}  # how many each has open; none is 0
        rate, client_rate = spec.connection_rate, spec.connection_rate_per_client
        self._rate = Rate(rate) if rate is not None else None
        self._client_rates = ClientRates(client_rate, most_clients) if client_rate is not None else None

    @property
    def none(self) -> bool:
        """Whether nothing is limited, so that nobody need be counted."""
        spec = self._spec
        return not (
            spec.max_connections
            or spec.max_connections_per_client
            or spec.max_handshakes
            or self._rate is not None
            or self._client_rates is not None
        )

    def key_of(self, client: bytes) -> bytes:
        """What a client is counted as."""
        return prefix_of(client, self._spec.client_prefix4, self._spec.client_prefix6)

    def refusal(self, now: float) -> Optional[Refusal]:
        """Why nobody may come in now; who may has used up one of the listener's rate."""
        spec = self._spec
        if 0 < spec.max_connections <= self.open:
            return Refusal(Reason.LISTENER_FULL, f"max_connections = {spec.max_connections}")
        if 0 < spec.max_handshakes <= self.handshakes:
            return Refusal(Reason.HANDSHAKES, f"max_handshakes = {spec.max_handshakes}")
        if self._rate is not None and not self._rate.take(now):
            return Refusal(Reason.LISTENER_RATE, f"connection_rate = {spec.connection_rate}")
        return None

    def client_refusal(self, key: bytes, now: float) -> Optional[Refusal]:
        """Why this client may not come in now; one who may has used up one of its rate."""
        spec = self._spec
        if 0 < spec.max_connections_per_client <= self.clients.get(key, 0):
            most = spec.max_connections_per_client
            return Refusal(Reason.CLIENT_FULL, f"max_connections_per_client = {most}")
        if self._client_rates is not None and not self._client_rates.take(key, now):
            rate = spec.connection_rate_per_client
            return Refusal(Reason.CLIENT_RATE, f"connection_rate_per_client = {rate}")
        return None

    def client_entered(self, key: bytes) -> None:
        """A connection of the client has begun."""
        self.clients[key] = self.clients.get(key, 0) + 1

    def client_left(self, key: bytes) -> None:
        """A connection of the client has ended."""
        left = self.clients[key] - 1
        if left:
            self.clients[key] = left
        else:
            del self.clients[key]
