"""The daemon in one process: it binds all or nothing, serves, shows itself, and stops in order."""

from __future__ import annotations

import os
import socket
import tempfile
from time import time
from typing import Any

import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher

import proxyd.service
from proxyd.config import load
from proxyd.config.balance import BALANCES
from proxyd.errors import StartError
from proxyd.policy.balance import BALANCERS
from proxyd.relay.dial import told_of_dial
from proxyd.relay.lane.datapath import Lane
from proxyd.service import ProxyService
from tests.support.case import AsyncCase
from tests.support.peer import Ended, SocketPeer

INI = """
[proxyd]
access_log = access.log
admin = unix:admin.sock
metrics = unix:metrics.sock
drain_timeout = {drain}

[listener front]
bind = unix:front.sock
pool = back

[pool back]
balance = roundrobin
server a = unix:a.sock
server b = unix:b.sock

[demo]
server a = unix:a.sock
server b = unix:b.sock
"""


class ServiceTests(AsyncCase):
    """A whole daemon on unix sockets in a folder of its own."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def service(self, text: str = INI, drain: str = "30s") -> ProxyService:
        with open(self.path("proxy.ini"), "w") as file:
            file.write(text.format(drain=drain))
        config = load(self.path("proxy.ini"), {})
        self.drains: list[str] = []
        return ProxyService(reactor, config, {}, lambda: 0.5, time, lambda: self.drains.append("begun"))

    def running(self, drain: str = "30s") -> ProxyService:
        service = self.service(drain=drain)
        service.bind()
        service.startService()
        self.addCleanup(lambda: service.stopService() if service.running else None)
        return service

    def client(self) -> SocketPeer:
        skt = socket.socket(socket.AF_UNIX)
        skt.connect(self.path("front.sock"))
        skt.setblocking(False)
        peer = SocketPeer(reactor, skt)
        self.addCleanup(peer.close)
        return peer

    async def ask(self) -> bytes:
        """The demo server's answer to one client."""
        client = self.client()
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        answer = bytes(await client.sees_end())
        client.close()
        return answer.rpartition(b"\r\n\r\n")[2]

    async def log(self) -> list[str]:
        with open(self.path("access.log")) as file:
            return file.read().splitlines()

    async def until_open(self, service: ProxyService, count: int) -> None:
        while service.capacity.open != count:
            await deferLater(reactor, 0)

    async def test_it_serves_and_is_seen(self) -> None:
        """Clients alternate between the servers, and the snapshot and the log tell of it."""
        service = self.running()
        answers = [await self.ask() for _ in range(4)]
        self.assertEqual(answers, [b"Hello from demo server a\n", b"Hello from demo server b\n"] * 2)
        client = self.client()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.receives(10)
        await self.until_open(service, 1)
        (listener,) = service.snapshot().listeners
        self.assertEqual((listener.name, listener.open), ("front", 1))
        ((pool, server, bytes_in, bytes_out),) = listener.live
        self.assertEqual((pool, server, bytes_in), ("back", "a", 27))
        self.assertGreater(bytes_out, 10)
        self.assertEqual([server.open for server in service.snapshot().servers], [1, 0])
        client.close()
        await service.stopService()
        self.assertEqual(len(await self.log()), 5)
        self.assertEqual(os.listdir(self.folder).count("front.sock"), 0)

    async def test_bytes_belong_to_the_server_that_gets_them(self) -> None:
        """While a server is dialed, what its client has said is counted for none: another may get it."""
        self.patch(Lane, "reach", lambda lane, address, side, asker: told_of_dial(Deferred(), asker))
        service = self.running(drain="0s")
        self.client().send(b"hello")
        await self.until_open(service, 1)
        (session,) = service.frontends[0].sessions
        while not session.client.received:
            await deferLater(reactor, 0)
        (listener,) = service.snapshot().listeners
        self.assertEqual((listener.open, listener.live), (1, ()))

    def test_a_host_without_the_lane(self) -> None:
        """It is said once, and only to those who want the lane."""
        self.patch(proxyd.service, "can_run_on", lambda _: False)
        said: list[str] = []
        observer: Any = lambda event: said.append(str(event.get("log_format")))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for datapath, count in ("stock", 0), ("lane", 1):
            text = INI.replace("pool = back", f"pool = back\ndatapath = {datapath}")
            self.service(text).capacity.stop()
            self.assertEqual(sum("no lane" in line for line in said), count, datapath)

    async def test_stopping_waits_for_those_who_are_served(self) -> None:
        """New clients are refused at once, open connections end by themselves, and the last is in the log."""
        service = self.running()
        client = self.client()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        await self.until_open(service, 1)
        stopping: Deferred[None] = service.stopService()
        self.assertEqual(self.drains, ["begun"])
        await deferLater(reactor, 0)
        self.assertRaises(OSError, self.client)
        self.assertFalse(stopping.called)
        self.assertTrue(os.path.exists(self.path("admin.sock")))
        self.assertTrue(os.path.exists(self.path("metrics.sock")))
        client.send(b"Connection: close\r\n\r\n")
        self.assertIn(b"Hello from demo server a", await client.sees_end())
        client.close()
        await stopping
        (line,) = await self.log()
        self.assertIn("reason=server_finished", line)
        self.assertEqual(sorted(os.listdir(self.folder)), ["access.log", "proxy.ini"])

    async def test_what_does_not_end_in_time_is_cut(self) -> None:
        """drain_timeout is the end of patience, and the record says so."""
        service = self.running(drain="50ms")
        client = self.client()
        client.send(b"GET / HT")
        await self.until_open(service, 1)
        await service.stopService()
        await client.sees_either()
        self.assertIsNot(client.ended, Ended.NOT)
        (line,) = await self.log()
        self.assertIn("reason=drained fault=proxy", line)

    async def test_a_drain_can_be_cut_short(self) -> None:
        """Told to hurry, a stop does not wait for drain_timeout."""
        service = self.running()
        self.client().send(b"GET / HT")
        await self.until_open(service, 1)
        stopping = service.stopService()
        await deferLater(reactor, 0)
        service.hurry()
        await stopping
        self.assertIn("reason=drained", (await self.log())[0])

    async def test_the_metrics_page(self) -> None:
        """Prometheus is answered, with what the snapshot has."""
        self.running()
        await self.ask()
        from twisted.internet.endpoints import UNIXClientEndpoint
        from twisted.web.client import Agent
        from twisted.web.iweb import IAgentEndpointFactory
        from zope.interface import implementer

        path = self.path("metrics.sock")

        @implementer(IAgentEndpointFactory)
        class ToTheSocket:
            def endpointForURI(self, uri: Any) -> UNIXClientEndpoint:
                return UNIXClientEndpoint(reactor, path)

        agent = Agent.usingEndpointFactory(reactor, ToTheSocket())
        response = await treq.get("http://proxyd/metrics", agent=agent)
        text = await response.text()
        self.assertIn('proxyd_server_up{pool="back",server="a"} 1.0', text)
        self.assertIn('proxyd_connections_open{listener="front"} 0.0', text)

    def test_all_that_cannot_be_bound_is_said_and_nothing_is_kept(self) -> None:
        """A start fails as a whole: every cause has its line, and no port and no socket stays taken."""
        taken = socket.socket(socket.AF_UNIX)
        self.addCleanup(taken.close)
        taken.bind(self.path("a.sock"))
        taken.listen(1)
        with open(self.path("metrics.sock"), "w"):
            pass
        os.mkdir(self.path("access.log"))
        error = self.assertRaises(StartError, self.service().bind)
        self.assertEqual(len(error.lines), 3)
        self.assertIn("Address already in use", str(error))
        self.assertIn("no socket is in the way", str(error))
        self.assertIn("access.log", str(error))
        kept = ["a.sock", "access.log", "metrics.sock", "proxy.ini"]
        self.assertEqual(sorted(os.listdir(self.folder)), kept)


class WordsTests(AsyncCase):
    """What the configuration knows is what the daemon has."""

    def test_every_balance_is_there(self) -> None:
        """A name that the configuration accepts has its balancer, and the other way round."""
        self.assertEqual(set(BALANCES), set(BALANCERS))
