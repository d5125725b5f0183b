"""Are connections to servers kept for as long as they may be used, and no longer?"""

from __future__ import annotations

from proxyd.config.address import TcpAddress
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.proxyprotocol import ProxyOut
from proxyd.config.servertls import ServerTlsSpec
from proxyd.frontends.http.kept import Kept
from proxyd.frontends.http.sides import Upstream
from proxyd.policy.balance import RoundRobin
from proxyd.policy.pool import Pool
from proxyd.relay.tls.server import ServerTls
from proxyd.wire.httpfields import Lines
from tests.frontends.http.front import ANSWERED, GET, OK, HttpCase

POST = GET.replace(b"GET", b"POST")


class Keeping(HttpCase):
    """Connections that wait for the next request."""

    def kept(self) -> int:
        """How many are kept now."""
        self.network.flush()
        return len(self.factory.kept)

    def busy(self, count: int) -> None:
        """Have so many requests under way at once, and answer them all."""
        clients = [self.client(GET) for _ in range(count)]
        for peer in self.datapath.peers[-count:]:
            self.say(peer, OK)
        for client in clients:
            self.assertEqual(self.heard(client), ANSWERED)
            client.close()

    def test_bounded(self) -> None:
        """No more are kept for a server than max_idle_connections."""
        self.listen(pool={"max_idle_connections": 2})
        self.busy(5)
        self.assertEqual(self.kept(), 2)
        self.assertEqual(
            [peer.ended.value for peer in self.datapath.peers].count("an end")
            + [peer.ended.value for peer in self.datapath.peers].count("a reset"),
            3,
        )
        self.over()

    def test_none(self) -> None:
        """With max_idle_connections = 0 each request has a connection of its own."""
        self.listen(pool={"max_idle_connections": 0})
        self.busy(1)
        self.busy(1)
        self.assertEqual((self.kept(), len(self.datapath.peers)), (0, 2))
        self.over()

    def test_idle(self) -> None:
        """They are closed after idle_connection_timeout; one that was used meanwhile begins anew."""
        self.listen(pool={"idle_connection_timeout": 8.0})
        self.busy(2)
        self.pass_time(6)
        client = self.client(GET)
        self.say(self.datapath.peers[1], OK)
        self.assertEqual((self.heard(client), self.kept()), (ANSWERED, 2))
        self.pass_time(5)
        self.assertEqual(self.kept(), 1)
        self.pass_time(6)
        self.assertEqual(self.kept(), 0)
        self.over()

    def test_patience(self) -> None:
        """One is not used any more a second before its server, as it has said, would close it."""
        self.listen()
        said = OK.replace(b"Date", b"Keep-Alive: timeout=5, max=99\r\nDate")
        client = self.client(GET)
        for seconds, dialed in ((0.0, 1), (3.0, 1), (4.5, 2)):
            self.pass_time(seconds)
            self.say(client, GET) if seconds else None
            self.say(self.server, said)
            self.assertEqual((self.heard(client), len(self.datapath.hosts)), (ANSWERED, dialed))
        self.over()

    def test_closed_by_the_server(self) -> None:
        """One that its server closes, or resets, is not used any more."""
        for leaves in ("close", "reset"):
            self.listen()
            self.busy(1)
            getattr(self.server, leaves)()
            self.assertEqual(self.kept(), 0)
            self.over()

    def test_unasked_words(self) -> None:
        """A server that speaks without being asked could mean the next request: it is cut off."""
        self.listen()
        self.busy(1)
        old = self.server
        self.say(old, OK)
        self.assertEqual((self.kept(), old.ended.value), (0, "a reset"))
        client = self.client(GET)
        self.say(self.server, OK)
        self.assertEqual(self.heard(client), ANSWERED)
        self.over()

    def test_unasked_and_unread(self) -> None:
        """What the server said before the request is not its answer, be it read late; nor is its end."""
        for says in (lambda peer: peer.send(OK), lambda peer: peer.close(), lambda peer: peer.reset()):
            self.listen()
            client = self.client(GET)
            self.say(self.server, OK)
            self.assertEqual((self.heard(client), self.kept()), (ANSWERED, 1))
            dialed = len(self.datapath.peers)
            says(self.server)
            client.send(POST)  # which is never sent twice; and is read before what the server has said
            self.say(self.server, OK.replace(b"hello", b"howdy"))
            self.assertEqual(self.heard(client), ANSWERED.replace(b"hello", b"howdy"))
            self.assertEqual(len(self.datapath.peers), dialed + 1)
            self.over()

    def test_moved(self) -> None:
        """Where a server's address has changed, what leads to the old one is not used."""
        self.listen()
        self.busy(1)
        self.pool.servers[0].address = TcpAddress("10.0.0.9", 1)
        client = self.client(GET)
        self.say(self.server, OK)
        self.assertEqual((self.heard(client), self.datapath.hosts), (ANSWERED, ["10.0.0.1", "10.0.0.9"]))
        self.over()

    def test_removed(self) -> None:
        """Those to a server that is no more are closed, and none is kept any more."""
        self.listen(1, 1)
        self.busy(2)
        gone = self.pool.servers[0]
        self.pool.drain(gone, "it goes", 0.0)
        self.pool.remove([gone], "it has gone", 0.0)
        self.pass_time(10)
        self.assertEqual(self.kept(), 1)
        self.over()

    def test_one_that_was_away(self) -> None:
        """What was dialed before its server went away and came back leads to what it was before."""
        self.listen(1, 1, pool={"slow_start": 0.0})
        self.busy(2)
        a = self.pool.servers[0]
        self.pass_time(1)
        now = self.clock.seconds()
        self.pool.disable(a, "it begins again", now)
        self.pool.enable(a, "", now)
        dialed = len(self.datapath.peers)
        for _ in range(2):
            self.client(GET)
        self.network.flush()
        self.assertEqual((len(self.datapath.peers), self.datapath.hosts[-1]), (dialed + 1, "10.0.0.1"))
        self.over()

    def test_files_of_tls(self) -> None:
        """What was dialed before files of TLS were read again is not used any more."""
        tls = ServerTls((), self.clock.seconds)
        kept = Kept(self.wheel, self.clock.seconds, tls)
        spec = ServerSpec("a", TcpAddress("10.0.0.1", 443), tls=ServerTlsSpec())
        pool = Pool(PoolSpec("web", (spec,)), RoundRobin(lambda: 0.0))
        [server] = pool.servers
        for changes in (False, True):
            upstream = Upstream(kept, server, Lines(), self.clock.seconds())
            self.network.connect(upstream)
            self.pass_time(1)
            kept.keep(upstream, pool, self.clock.seconds())
            if changes:
                tls.load(("ca.pem",))
            self.assertIs(kept.take(server, self.clock.seconds()), None if changes else upstream)
            kept.drop(upstream)
        self.network.flush()
        self.assertEqual(self.network.open(), [])
        kept.close()

    def test_of_one_client(self) -> None:
        """Where servers are told who the client is, a connection is its own, and is closed behind it."""
        self.listen(pool={"proxy_protocol": ProxyOut(1)})
        clients = [self.client(GET, host=f"10.9.9.{number}") for number in range(2)]
        servers = list(self.datapath.peers)
        for _ in range(3):
            for client, server in zip(clients, servers):
                self.say(server, OK)
                self.assertEqual(self.heard(client), ANSWERED)
                self.say(client, GET)
        self.assertEqual(len(self.datapath.peers), 2)
        for number, server in enumerate(servers):
            self.assertEqual(server.received.count(b"PROXY TCP4 10.9.9.%d " % number), 1)
            self.say(server, OK)
        self.assertEqual(self.kept(), 2)
        clients[0].close()
        self.assertEqual((self.kept(), servers[0].ended.value), (1, "an end"))
        self.over()

    def test_bound_of_those(self) -> None:
        """They have the same bound, and the one that was not needed for the longest has to go."""
        self.listen(pool={"proxy_protocol": ProxyOut(1), "max_idle_connections": 2})
        clients = []
        for _ in range(3):
            clients.append(self.client(GET))
            self.say(self.server, OK)
        self.assertEqual(self.kept(), 2)
        self.assertEqual([peer.ended.value for peer in self.datapath.peers], ["an end", "not yet", "not yet"])
        for client, dialed in zip(clients, (4, 4, 4)):
            self.say(client, GET)
            self.assertEqual(len(self.datapath.peers), dialed)
        self.over()

    def test_newest_first(self) -> None:
        """The one that was used last is used next, so that those not needed grow old."""
        self.listen()
        self.busy(2)
        for _ in range(3):
            client = self.client(GET)
            self.say(self.datapath.peers[1], OK)
            self.assertEqual(self.heard(client), ANSWERED)
        self.over()
