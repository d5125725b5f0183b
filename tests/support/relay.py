"""
How does a test get a whole relay on the lane, without a daemon around it?

`Relay` has a listener, a pool of one server, and all that is between them, as `proxyd.service` assembles
it.  ``python -m tests.support.relay poll 127.0.0.1 4711 100`` is one in a process of its own, under
Twisted's poll reactor, that leads to the port 4711 and lets 100 connections in; it says on which port it
listens, ends with SIGTERM, and then says what it has left behind.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import Any, Sequence

from zope.interface import implementer

from proxyd.config.address import Address, Bind, TcpAddress, TcpBind
from proxyd.config.listener import ListenerSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.errors import Reason
from proxyd.interfaces import IObserver
from proxyd.policy.admission import Admission
from proxyd.policy.balance import RoundRobin
from proxyd.policy.bans import Bans
from proxyd.policy.lists import Lists
from proxyd.policy.pool import Pool
from proxyd.records import Record, RequestRecord
from tests.support.walltime import SetTime

ANY_PORT = TcpBind("tcp:0:interface=127.0.0.1", "127.0.0.1", 0)

REACTORS = {
    "epoll": "twisted.internet.epollreactor",
    "poll": "twisted.internet.pollreactor",
    "select": "twisted.internet.selectreactor",
    "asyncio": "twisted.internet.asyncioreactor",
}


@implementer(IObserver)
class Notebook:
    """An observer that keeps the records."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.requests: list[RequestRecord] = []

    def closed(self, record: Record) -> None:
        self.records.append(record)

    def answered(self, record: RequestRecord) -> None:
        self.requests.append(record)


class Relay:
    """A listener on the lane that leads to one server."""

    def __init__(
        self,
        reactor: Any,
        server: Address,
        bind: Bind = ANY_PORT,
        most: int = 100_000,
        lane: Any = None,
        front: Any = None,
        **listener: Any,
    ) -> None:
        """
        ``most`` connections are let in; ``listener`` are further settings of the listener.

        With ``front``, an `OpenSSL.SSL.Context`, TLS ends there.
        """
        # Not at the top: a process of its own must first choose its reactor.
        from proxyd.relay.capacity import Capacity
        from proxyd.relay.deadlines import Wheel
        from proxyd.relay.factory import ProxyFactory
        from proxyd.relay.lane.datapath import Lane
        from proxyd.relay.listener import bound_listener

        self.lane = lane or Lane(reactor)
        self.notebook = Notebook()
        self.capacity = Capacity(reactor, most)
        self.wheel = Wheel(reactor)
        self.pool = Pool(PoolSpec("servers", (ServerSpec("a", server),)), RoundRobin(lambda: 0.0))
        self.factory = ProxyFactory(
            ListenerSpec("front", (bind,), "servers", **listener),
            {"servers": self.pool},
            self.lane,
            self.wheel,
            reactor.seconds,
            SetTime(reactor.seconds),
            self.capacity,
            [self.notebook],
            Admission((), Lists(()), Bans(1)),
        )
        self.factory.may_end_tls = self.factory.may_end_tls or front is not None
        self.listener = bound_listener(reactor, self.lane, bind, {}, self.factory, self.capacity, tls=front)
        self.listener.startListening()

    @property
    def address(self) -> Any:
        """Where it listens."""
        return self.listener.getHost()

    def left(self) -> list[str]:
        """What is left of the connections, which is nothing when all have ended."""
        counts = {
            "sessions": len(self.factory.sessions),
            "open": self.capacity.open,
            "deadlines": len(self.wheel),
            "slots": sum(server.open for server in self.pool.servers),
        }
        return [f"{count} {what}" for what, count in counts.items() if count]

    def stop(self) -> None:
        """Cut what is left, and close everything."""
        self.listener.stopListening()
        for session in list(self.factory.sessions):
            session.cut(Reason.DRAINED)
        self.lane.close()
        self.capacity.stop()


def owner(call: Any) -> str:
    """The module whose function, or whose object's method, this is; compiled methods name none."""
    module = call.__module__ or type(call.__self__).__module__
    return str(module)


def main(arguments: Sequence[str]) -> None:
    """Relay until SIGTERM."""
    name, host, port, most = arguments
    module = importlib.import_module(REACTORS[name])
    if name == "asyncio":
        module.install(asyncio.new_event_loop())
    else:
        module.install()
    from twisted.internet import reactor as installed

    from proxyd.relay.lane.datapath import can_run_on

    reactor: Any = installed
    assert type(reactor).__module__ == REACTORS[name], reactor
    assert can_run_on(reactor)
    relay = Relay(reactor, TcpAddress(host, int(port)), most=int(most))

    def say(what: str) -> None:
        sys.stdout.write(f"{what}\n")
        sys.stdout.flush()

    def stop() -> None:
        relay.stop()
        ours = [reader for reader in reactor.getReaders() if type(reader).__module__.startswith("proxyd")]
        ours += [call for call in reactor.getDelayedCalls() if owner(call.func).startswith("proxyd")]
        say(f"{len(relay.notebook.records)} records; left: {relay.left() + ours}")

    reactor.addSystemEventTrigger("before", "shutdown", stop)
    reactor.callWhenRunning(lambda: say(f"{name} listens on {relay.address.port}"))
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
