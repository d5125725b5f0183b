"""What did the operator ask of a pool?  The ``[pool NAME]`` section."""

from __future__ import annotations

from typing import Any, ClassVar, Iterator, Mapping, Optional, Sequence

from attrs import frozen

from proxyd.config.address import Address, ServerAddress, UnixAddress
from proxyd.config.balance import BALANCES
from proxyd.config.health import Check, CheckSpec
from proxyd.config.options import Choice, Count, Duration, Fail, Flag, Form, Option, parameters
from proxyd.config.proxyprotocol import Header, ProxyOut
from proxyd.config.reader import Word


@frozen
class ServerSpec:
    """One ``server NAME = ADDRESS weight=N backup`` of a pool; weight 0 gets no new connections."""

    name: str
    address: Address
    weight: int = 1
    backup: bool = False


@frozen
class PoolSpec:
    """One ``[pool]``: its servers, and how connections are spread over them."""

    name: str
    servers: tuple[ServerSpec, ...]
    balance: str = "p2c"
    check: Optional[CheckSpec] = None
    connect_timeout: float = 5.0
    retries: int = 2
    proxy_protocol: Optional[ProxyOut] = None


class Server(Form):
    """``ADDRESS weight=N backup``, without the server's name: the address, and the other values by name."""

    shape: ClassVar[str] = "an [address of a server](#addresses), then any of the parameters below"
    parameters: ClassVar[tuple[Option, ...]] = (
        Option(
            "weight",
            Count(0, 256),  # HAProxy's bounds
            "Its share, beside the weights of the others. With 0 it gets no new connections.",
            "weight=2",
            default="1",
        ),
        Option(
            "backup",
            Flag(),
            "It gets connections only when no server without this word is up.",
            "backup",
            otherwise="it takes its share like the others",
        ),
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> dict[str, Any]:
        address = ServerAddress().parse(words[:1], fail)
        return {"address": address, **(parameters(words[1:], self.parameters, fail) or {})}


OPTIONS = (
    Option(
        "server",
        Server(),
        "A server of the pool, under a name that logs and metrics call it by.",
        "server a = 10.0.0.1:5432 weight=2",
        required=True,
        named=True,
    ),
    Option(
        "balance",
        Choice(BALANCES),
        "How a server is chosen for a connection. `roundrobin`: each in turn; `random`: any; `p2c`: of two "
        "taken at random, the one with fewer open connections. All three heed weights.",
        "balance = roundrobin",
        default="p2c",
    ),
    Option(
        "check",
        Check(),
        "Check whether the servers are up. It begins with the kind of check: a protocol that they speak.",
        "check = redis interval=2s timeout=1s",
        otherwise="no checks; every server counts as up",
    ),
    Option(
        "connect_timeout",
        Duration(),
        "A server that has not accepted a connection by then is given up, and another is tried.",
        "connect_timeout = 1s",
        default="5s",
    ),
    Option(
        "retries",
        Count(0, 100),
        "So many other servers are tried when one cannot be reached.",
        "retries = 0",
        default="2",
    ),
    Option(
        "proxy_protocol",
        Header(),
        "Servers are told who the client is by a PROXY header before the first byte; they must expect it. "
        "`v1` is a line of text; `v2` is binary and can say more.",
        "proxy_protocol = v2 crc32c unique_id",
        otherwise="no header; to servers, proxyd is the client",
    ),
)


def contradictions(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Which values of a pool do not go together: the option, and what is wrong with it."""
    check: Optional[CheckSpec] = given.get("check")
    for name, server in given.get("server", {}).items():
        if check is not None and check.port is not None and isinstance(server["address"], UnixAddress):
            yield "check", f"port={check.port} means nothing for server {name}, which is a unix socket"
    if check is not None and check.send_proxy and "proxy_protocol" not in given:
        yield "check", "send_proxy is for a pool with proxy_protocol"
