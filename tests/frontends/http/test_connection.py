"""Does nobody wait for ever, and is each told what became of him?"""

from __future__ import annotations

import gc
from ipaddress import ip_network

from twisted.internet.address import IPv4Address

from proxyd.config.http import HttpSpec
from proxyd.config.proxyprotocol import ProxyIn
from proxyd.errors import Reason
from proxyd.frontends.http.session import HttpSession
from tests.frontends.http.front import ANSWERED, GET, OK, HttpCase


def sessions() -> int:
    """How many there are, whether or not anybody still knows them."""
    return sum(isinstance(each, HttpSession) for each in gc.get_objects())


class Deadlines(HttpCase):
    """What is waited for, and for how long."""

    def test_silent_client(self) -> None:
        """A client that asks for nothing is let go without a word, sooner if it never asked."""
        self.listen(http=HttpSpec(keepalive_timeout=8.0, header_timeout=5.0))
        fresh, served = self.client(), self.client(GET)
        self.say(self.server, OK)
        self.pass_time(4)
        self.assertEqual((fresh.ended.value, served.ended.value), ("not yet", "not yet"))
        self.pass_time(3)
        self.assertEqual((fresh.ended.value, served.ended.value), ("an end", "not yet"))
        self.pass_time(3)
        self.assertEqual((fresh.ended.value, served.ended.value), ("an end", "an end"))
        self.assertEqual((self.heard(fresh), self.heard(served)), (b"", ANSWERED))
        self.assertEqual(
            [(record.reason, record.detail) for record in self.notebook.records],
            [
                (Reason.IDLE_TIMEOUT, "it has asked for nothing within header_timeout"),
                (Reason.IDLE_TIMEOUT, "it has asked for nothing more"),
            ],
        )
        self.over()

    def test_late_head(self) -> None:
        """The first head must come within header_timeout of the client, later ones of their first byte."""
        self.listen(http=HttpSpec(header_timeout=5.0))
        late, good = self.client(), self.client(GET)
        self.say(self.server, OK)
        self.pass_time(4)
        self.say(late, GET[:4])
        self.say(good, GET[:4])
        self.pass_time(3)
        self.assertTrue(self.heard(late).startswith(b"HTTP/1.1 408 "))
        self.assertEqual(self.notebook.requests[-1].bytes_in, 4)
        self.say(good, GET[4:])
        self.say(self.server, OK)
        self.assertEqual(self.heard(good), ANSWERED * 2)
        self.over()

    def test_slow_head(self) -> None:
        """A head that does not come to its end is answered 408, however steadily its bytes drip."""
        self.listen(http=HttpSpec(header_timeout=5.0))
        client = self.client()
        for byte in GET:
            if client.ended.value == "not yet":
                self.say(client, bytes([byte]))
                self.pass_time(0.5)
        self.assertTrue(self.heard(client).startswith(b"HTTP/1.1 408 Request Timeout\r\n"))
        self.assertEqual(self.outcomes(), [(408, Reason.REQUEST_TIMEOUT)])
        self.assertEqual(self.datapath.dialed, [])
        self.over()

    def test_long_head(self) -> None:
        """For every 500 bytes of a head there is a second more."""
        self.listen(http=HttpSpec(header_timeout=2.0))
        client = self.client(GET[:-2] + b"X: " + bytes(2000).replace(b"\0", b"x") + b"\r\n")
        self.pass_time(4)
        self.say(client, b"\r\n")
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.over()

    def test_silent_upload(self) -> None:
        """A client that stops in the midst of its body is answered 408 after idle_timeout."""
        self.listen(idle_timeout=8.0)
        client = self.client(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        server = self.server
        self.pass_time(13)
        self.assertTrue(self.heard(client).startswith(b"HTTP/1.1 408 "))
        self.assertEqual(server.ended.value, "a reset")
        self.over()

    def test_silent_answer(self) -> None:
        """A server that stops in the midst of its answer is cut after idle_timeout, and so is the client."""
        self.listen(idle_timeout=8.0)
        client = self.client(GET)
        self.say(self.server, OK[:-2])
        self.pass_time(13)
        self.assertNotEqual(client.ended.value, "not yet")
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWER_TIMEOUT)])
        self.over()

    def test_stalled_client(self) -> None:
        """A client that does not take its answer is cut after idle_timeout; one that does slowly is not."""
        self.listen(idle_timeout=8.0)
        client = self.client(GET, window=1024, sending=1024)
        client.stop_reading()
        self.say(self.server, OK.replace(b"5", b"20000").replace(b"hello", bytes(20000)))
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWERED)])
        for _ in range(3):
            client.read_again()
            client.read_size = 1024
            self.network.turn()
            client.stop_reading()
            self.pass_time(6)
            self.assertEqual(client.ended.value, "not yet")
        self.pass_time(15)
        client.read_again()
        self.network.flush()
        self.assertEqual(client.ended.value, "a reset")
        self.over()
        self.assertEqual(self.notebook.records[0].reason, Reason.CLIENT_STALLED)

    def test_answers_slower_than_the_look(self) -> None:
        """The clock of an answer begins with the end of its request."""
        self.listen(pool={"response_timeout": 10.0})
        client = self.client(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n")
        for _ in range(2):
            self.pass_time(8)
            self.say(client, b"abc")
        self.pass_time(8)
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.over()

    def test_lifetime(self) -> None:
        """A connection that has lasted for max_lifetime is closed, in the midst of an answer or not."""
        self.listen(max_lifetime=5.0)
        one, two = self.client(GET), self.client()
        self.say(self.server, OK[:-2])
        self.pass_time(6)
        self.assertEqual(self.outcomes(), [(200, Reason.LIFETIME)])
        self.assertEqual((one.ended.value, two.ended.value), ("an end", "an end"))
        self.over()
        self.assertEqual({record.reason for record in self.notebook.records}, {Reason.LIFETIME})


class Ends(HttpCase):
    """What is told of connections."""

    def test_connections_and_requests(self) -> None:
        """A connection has one record, with the sum of its requests; each request has its own."""
        self.listen()
        client = self.client(GET + GET)
        self.say(self.server, OK)
        self.say(self.server, OK)
        client.close()
        self.network.flush()
        (record,) = self.notebook.records
        self.assertEqual((record.requests, record.bytes_in, record.bytes_out), (2, 2 * len(GET), 2 * len(OK)))
        self.assertEqual((record.reason, record.server), (Reason.CLIENT_FINISHED, ""))
        self.assertEqual([each.bytes_in for each in self.notebook.requests], [len(GET)] * 2)
        self.over()

    def test_cut(self) -> None:
        """A session that is cut ends its request too, and its server's connection."""
        self.listen()
        client = self.client(GET)
        self.say(self.server, OK[:-2])
        (session,) = self.factory.sessions
        session.cut(Reason.DRAINED)
        self.pass_time(2)
        self.assertNotEqual(client.ended.value, "not yet")
        self.assertNotEqual(self.server.ended.value, "not yet")
        self.assertEqual(self.outcomes(), [(200, Reason.DRAINED)])
        self.over()

    def test_banned_while_idle(self) -> None:
        """So does one that waits for its client's next request."""
        self.listen()
        client = self.client(GET)
        self.say(self.server, OK)
        (session,) = self.factory.sessions
        session.cut(Reason.BANNED)
        self.network.flush()
        self.assertEqual(client.ended.value, "an end")
        self.assertEqual(len(self.factory.kept), 1)
        self.over()

    def test_behind_a_balancer(self) -> None:
        """Who a PROXY header has told of is who the server is told of."""
        self.listen(proxy_protocol=ProxyIn((ip_network("10.9.9.9/32"),)))
        client = self.client(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n" + GET)
        self.assertIn(b"X-Forwarded-For: 192.0.2.7\r\n", self.heard(self.server))
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        record = self.the_request()
        self.assertEqual((record.client, record.via), ("192.0.2.7:4711", "10.9.9.9:4711"))
        self.over()

    def test_behind_a_balancer_to_nobody(self) -> None:
        """A request that has come with its PROXY header is answered also where its server is waited for."""
        self.listen(3, proxy_protocol=ProxyIn((ip_network("10.9.9.9/32"),)), pool={"retries": 0})
        client = self.client(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n" + GET)
        self.pass_time(6)
        self.assertTrue(self.heard(client).startswith(b"HTTP/1.1 504 "))
        self.over()

    def test_wrong_proxy_header(self) -> None:
        """A connection that must begin with a PROXY header, and does not, is closed."""
        self.listen(proxy_protocol=ProxyIn((ip_network("10.9.9.9/32"),)))
        client = self.client(GET)
        self.assertEqual((client.ended.value, self.heard(client)), ("an end", b""))
        self.over()
        self.assertEqual(self.notebook.records[0].reason, Reason.PROXY_MALFORMED)

    def test_no_cycles(self) -> None:
        """However a connection ends, nothing of it is left for the garbage collector."""
        self.listen()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        before = sessions()
        for said in (b"", GET, GET[:9], GET.replace(b"Host", b"Host "), GET + GET):
            for answer in (b"", OK[:-2], OK, OK + OK):
                for leaves in ("close", "reset"):
                    client = self.client(said)
                    for server in self.datapath.peers[-1:]:
                        if answer and not server.closed:
                            self.say(server, answer)
                    getattr(client, leaves)()
                    self.network.flush()
                    for server in self.datapath.peers[-1:]:
                        if not server.closed:
                            server.close()
                    self.network.flush()
        self.over()
        self.assertEqual(sessions() - before, 0)

    def test_address(self) -> None:
        """A session knows where its client has come from."""
        self.listen()
        self.client(host="192.0.2.9")
        (session,) = self.factory.sessions
        self.assertEqual(session.address, IPv4Address("TCP", "192.0.2.9", 4711))
        self.over()
