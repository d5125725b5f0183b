"""Whom does a pool ask how its servers are, beside checking them?  The ``agent_check =`` of a pool."""

from __future__ import annotations

from typing import Any, ClassVar, Iterator, Optional, Sequence

from attrs import field, frozen

from proxyd.config.address import Address, Port, ServerAddress, UnixAddress, at_port
from proxyd.config.forms import Send, Step
from proxyd.config.options import Duration, Fail, Form, Option, parameters, show_duration
from proxyd.config.reader import Word


@frozen
class AgentSpec:
    """
    Where the agents of a pool's servers are asked, how often, and what is said to them first.

    ``interval`` and ``timeout`` are seconds.  Either ``port``, of the server, or ``address`` is given.
    """

    port: Optional[int] = None
    address: Optional[Address] = None
    interval: float = 5.0
    timeout: float = 2.0
    send: Optional[Send] = field(default=None, repr=False)

    def target(self, server: Address) -> Address:
        """Where the agent of a server is asked."""
        return at_port(server, self.port) if self.address is None else self.address


class AgentCheck(Form):
    """``port=8404 interval=5s``."""

    shape: ClassVar[str] = "parameters, of which `port` or `address` is one"
    parameters: ClassVar[tuple[Option, ...]] = (
        Option(
            "port",
            Port(),
            "The agent of each server listens on this port.",
            "port=8404",
            otherwise="the agent is asked at `address`",
        ),
        Option(
            "address",
            ServerAddress(),
            "One agent speaks for all servers, and listens there.",
            "address=10.0.0.9:8404",
            otherwise="each server has an agent of its own",
        ),
        Option(
            "interval",
            Duration(),
            "The time from one question to the next, give or take a fifth.",
            "interval=10s",
            default="5s",
        ),
        Option(
            "timeout",
            Duration(),
            "An agent that has not answered by then has told nothing. If it is not given, it is at most half "
            "of the interval.",
            "timeout=500ms",
            default="2s",
        ),
        Option(
            "send",
            Step(),
            "This is said first.",
            "send='db1\\n'",
            otherwise="nothing; the connection is the question",
        ),
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[AgentSpec]:
        given = parameters(words, self.parameters, fail)
        if given is None:
            return None
        for fault in _faults(given):
            fail(words[0].line, fault)
            return None
        if "timeout" not in given:
            given["timeout"] = min(2.0, given.get("interval", 5.0) / 2)
        return AgentSpec(**given)


def _faults(given: dict[str, Any]) -> Iterator[str]:
    if "port" in given and "address" in given:
        yield "port and address do not go together; the address has a port of its own"
    if "port" not in given and "address" not in given:
        yield "does not say where; write port=8404, for example"
    if given.get("timeout", 0.0) >= given.get("interval", 5.0):
        interval = show_duration(given.get("interval", 5.0))
        yield f"timeout={show_duration(given['timeout'])} must be shorter than the interval, {interval}"


def unfit(spec: AgentSpec, server: Address) -> str:
    """Why the agent of such a server cannot be asked, or nothing."""
    if spec.port is not None and isinstance(server, UnixAddress):
        return f"port={spec.port} means nothing for a server that is a unix socket"
    return ""
