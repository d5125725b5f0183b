"""Is a server that is asked for nobody waited for, and blamed, as one that is asked for a client?"""

from __future__ import annotations

from attrs import evolve

from proxyd.config.proxyprotocol import ProxyOut
from proxyd.errors import Reason
from proxyd.frontends.http.fetchsession import HELD_UP
from tests.frontends.http.caches import FRESH, CachingCase, answer, get
from tests.frontends.http.front import GET


class Patient(CachingCase):
    """What is too long to be stored, and read slowly."""

    def test_slow_and_steady(self) -> None:
        """Who takes slowly what is not stored, or too long for that, is waited for; no server is blamed."""
        body = b"x" * 1_000_000
        for line in (b"Cache-Control: private\r\n", FRESH):
            self.store(max_object=400_000)
            self.factory.spec = evolve(self.factory.spec, idle_timeout=10.0)
            client = self.client()
            client.read_size = 5000
            client.stop_reading()
            self.say(client, GET)
            self.say(self.server, b"HTTP/1.1 200 OK\r\nDate: then\r\n" + line + b"\r\n" + body)
            self.server.finish()
            for _ in range(150):
                client.read_again()
                self.network.turn()
                client.stop_reading()
                self.pass_time(1)
            client.read_again()
            self.pass_time(1)
            self.assertTrue(self.told(client)[2].endswith(b"x\r\n0\r\n\r\n"))
            self.assertEqual(self.outcomes()[-1], (200, Reason.ANSWERED))
            self.over()

    def test_one_who_stops(self) -> None:
        """Of what is too long to be held, one who takes nothing any more does not hold up others for long."""
        for limit in (600.0, 10.0):
            self.store(max_object=200_000)
            self.factory.spec = evolve(self.factory.spec, idle_timeout=limit)
            stopped, other = self.client(), self.client()
            stopped.stop_reading()
            for client in (stopped, other):
                self.say(client, GET)
            head = b"HTTP/1.1 200 OK\r\nDate: then\r\n" + FRESH + b"\r\n"
            self.say(self.server, head + b"x" * 1_500_000)
            self.server.finish()
            self.assertLess(other.received.count(b"x"), 1_000_000)
            self.pass_time(2 * HELD_UP)
            self.assertTrue(other.received.endswith(b"x\r\n0\r\n\r\n"))
            self.assertEqual(self.outcomes()[-2:], [(200, Reason.CLIENT_STALLED), (200, Reason.ANSWERED)])
            self.over()

    def test_all_who_stop(self) -> None:
        """Where nobody waits for them they have as long as anybody has."""
        self.store(max_object=200_000)
        clients = [self.client(), self.client()]
        for client in clients:
            client.stop_reading()
            self.say(client, GET)
        self.say(self.server, b"HTTP/1.1 200 OK\r\nDate: then\r\n" + FRESH + b"\r\n" + b"x" * 1_500_000)
        self.server.finish()
        self.pass_time(4 * HELD_UP)
        self.assertEqual(self.outcomes(), [])
        for client in clients:
            client.read_again()
        self.pass_time(1)
        for client in clients:
            self.assertTrue(client.received.endswith(b"x\r\n0\r\n\r\n"))
        self.over()


class Introduced(CachingCase):
    """What is fetched of a pool whose servers are told of clients by a PROXY header."""

    def test_proxy_protocol(self) -> None:
        """It is the client whose request the server gets, be it there still; and for nobody else after it."""
        self.store(pool={"proxy_protocol": ProxyOut(1)})
        for number, (host, leaves) in enumerate((("192.0.2.1", False), ("192.0.2.2", True))):
            request = get(target=b"/%d" % number)
            client = self.client(request, host=host)
            other = self.client(request)
            if leaves:
                client.reset()
            header, _, asked = self.heard(self.server).partition(b"\r\n")
            self.assertTrue(header.startswith(b"PROXY TCP4 %s " % host.encode()), header)
            self.assertTrue(asked.startswith(b"GET /%d " % number))
            self.say(self.server, answer(b"hello", FRESH))
            for each in (other,) if leaves else (client, other):
                self.assertEqual(self.told(each)[2], b"hello")
            self.assertEqual((len(self.datapath.peers), len(self.factory.kept)), (number + 1, 0))
        self.over()
