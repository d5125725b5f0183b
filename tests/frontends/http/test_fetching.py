"""How is an answer fetched once, for all who ask for it?"""

from __future__ import annotations

from proxyd.errors import Reason
from proxyd.frontends.http.bodies import AHEAD, PIECE
from tests.frontends.http.caches import ETAG, FRESH, CachingCase, answer, get
from tests.frontends.http.front import GET
from tests.support.streams import FakePeer


class Together(CachingCase):
    """One asks for all who want the same."""

    def many(self, count: int = 20, request: bytes = GET) -> list[FakePeer]:
        return [self.ask(request) for _ in range(count)]

    def bodies(self, clients: list[FakePeer]) -> set[tuple[int, bytes]]:
        """What these were told."""
        found = [self.told(client) for client in clients]
        return {(status, body) for status, _, body in found}

    def test_one_fetch(self) -> None:
        """Many who ask at once have one server asked once, and all get the answer as it comes."""
        self.store()
        clients = self.many()
        self.assertEqual(len(self.datapath.peers), 1)
        whole = answer(b"hello" * 1000, FRESH)
        self.say(self.server, whole[:1000])
        late = self.ask()
        for client in (*clients, late):
            self.assertIn(b"hello", self.heard(client))
        self.say(self.server, whole[1000:])
        for client in (*clients, late):
            self.assertTrue(self.heard(client).endswith(b"hello"))
            self.assertTrue(client.received.endswith(b"\r\n\r\n" + b"hello" * 1000))
        self.assertEqual(self.words(), ["miss"] + ["coalesced"] * 20)
        self.assertEqual([record.server for record in self.notebook.requests], ["a"] + [""] * 20)
        self.over()

    def test_the_first_leaves(self) -> None:
        """Who asked first may leave: the others get their answer, and so does who comes later."""
        self.store()
        clients = self.many(5)
        clients[0].reset()
        self.network.flush()
        self.say(self.server, answer(b"hello", FRESH))
        self.assertEqual(self.bodies(clients[1:]), {(200, b"hello")})
        self.assertEqual(self.told(self.ask())[2], b"hello")
        self.assertEqual(self.words(), ["miss"] + ["coalesced"] * 4 + ["hit"])
        self.over()

    def test_the_first_leaves_with_what_is_its_own(self) -> None:
        """What turns out to be for the one who has left is for nobody: the server was sent its cookies."""
        for made in (b"Cache-Control: private\r\n", FRESH + b"Set-Cookie: a=b\r\n", FRESH + b"Vary: *\r\n"):
            self.store()
            before = len(self.datapath.peers)
            first, *others = self.many(3)
            first.reset()
            self.network.flush()
            self.say(self.server, answer(b"of the first", made))
            self.clock.advance(0)
            self.network.flush()
            for place, peer in enumerate(self.datapath.peers[before + 1 :]):
                self.say(peer, answer(b"%d" % place, made))
            self.assertEqual([self.told(client)[2] for client in others], [b"0", b"1"])
            self.over()

    def test_fields_for_one(self) -> None:
        """Of fields that are for one alone, who has asked gets them, and nobody else then or later."""
        named = b'Cache-Control: max-age=60, private="X, Set-Cookie"\r\nX: mine\r\n'
        for fields, ignored in ((named, False), (FRESH, True)):
            made = fields + b"Set-Cookie: a=b\r\n"
            self.store(ignore_set_cookie=ignored)
            first, other = self.many(2)
            self.say(self.server, answer(b"hello", made))
            told = [self.told(client) for client in (first, other, self.ask())]
            self.assertEqual([body for _, _, body in told], [b"hello"] * 3)
            self.assertEqual([said.get(b"set-cookie") for _, said, _ in told], [b"a=b", None, None])
            mine = None if ignored else b"mine"
            self.assertEqual([said.get(b"x") for _, said, _ in told], [mine, None, None])
            self.over()

    def test_the_first_leaves_with_its_variant(self) -> None:
        """Nor does who waits longest get what goes by a field in which it differs."""
        self.store()
        first, other = self.ask(get(b"X: 1")), self.ask(get(b"X: 2"))
        first.reset()
        self.network.flush()
        self.say(self.server, answer(b"one", FRESH, b"Vary: X\r\n"))
        self.clock.advance(0)
        self.assertEqual(self.heard(other), b"")
        self.say(self.server, answer(b"two", FRESH, b"Vary: X\r\n"))
        self.assertEqual(self.told(other)[2], b"two")
        self.over()

    def test_to_be_validated_by_each(self) -> None:
        """RFC 9111, 4: what may not be used again without asking is not used for others who wait."""
        for said in (b"Cache-Control: no-cache\r\n", b"Cache-Control: max-age=0\r\n"):
            self.store()
            clients = self.many(2, get(b"Cookie: c"))
            self.say(self.server, answer(b"mine", said, ETAG))
            self.assertEqual(self.told(clients[0])[2], b"mine")
            self.assertEqual(self.heard(clients[1]), b"")
            self.say(self.server, answer(b"yours", said, ETAG))
            self.assertEqual(self.told(clients[1])[2], b"yours")
            clients = self.many(2)  # and from now on nobody waits for others
            asked = [peer for peer in self.datapath.peers if b"If-None-Match" in self.heard(peer)]
            self.assertEqual(len(asked), 2)
            for peer, body in zip(asked, (b"a", b"b")):
                self.say(peer, answer(body, said, ETAG))
            self.assertEqual({self.told(client)[2] for client in clients}, {b"a", b"b"})
            self.over()

    def test_late_for_what_is_to_be_validated(self) -> None:
        """Nor for who comes while it is on its way."""
        self.store()
        whole = answer(b"mine", b"Cache-Control: no-cache\r\n", ETAG)
        first = self.ask()
        self.say(self.datapath.peers[0], whole[:-2])
        second = self.ask()
        self.assertEqual(self.heard(second), b"")
        self.say(self.datapath.peers[1], answer(b"yours", b"Cache-Control: no-cache\r\n", ETAG))
        self.say(self.datapath.peers[0], whole[-2:])
        self.assertEqual((self.told(first)[2], self.told(second)[2]), (b"mine", b"yours"))
        self.over()

    def test_by_what_we_tell(self) -> None:
        """What goes by a field that differs from client to client by our doing is for one."""
        self.store()
        clients = self.many(2)
        self.say(self.datapath.peers[0], answer(b"one", FRESH, b"Vary: X-Forwarded-For\r\n"))
        self.say(self.datapath.peers[1], answer(b"two", FRESH, b"Vary: X-Forwarded-For\r\n"))
        self.assertEqual([self.told(client)[2] for client in clients], [b"one", b"two"])
        self.assertEqual(len(self.cache.store), 0)
        self.over()

    def test_somebodys(self) -> None:
        """That an answer to somebody is not stored keeps nobody else's from being stored."""
        self.store()
        self.fill(request=get(b"Authorization: Basic x"))
        self.fill()
        self.assertEqual(self.told(self.ask())[2], b"hello")
        self.assertEqual(self.words(), ["miss", "miss", "hit"])
        self.over()

    def test_all_leave(self) -> None:
        """What nobody waits for any more is stored all the same."""
        self.store()
        for client in self.many(3):
            client.reset()
        self.network.flush()
        self.say(self.server, answer(b"hello", FRESH))
        self.assertEqual(self.told(self.ask())[2], b"hello")
        self.over()

    def test_not_to_be_stored(self) -> None:
        """An answer that is for one is not given to others: they ask by themselves, and the next at once."""
        self.store()
        clients = self.many(3)
        self.say(self.server, answer(b"mine", b"Cache-Control: private\r\n"))
        self.assertEqual(self.told(clients[0])[2], b"mine")
        self.assertEqual(len(self.datapath.peers), 3)
        for place, peer in enumerate(self.datapath.peers[1:], 1):
            self.say(peer, answer(b"%d" % place, b"Cache-Control: private\r\n"))
        self.assertEqual([self.told(client)[2] for client in clients[1:]], [b"1", b"2"])
        two = self.many(2)
        self.assertEqual(sum(b"GET" in self.heard(peer) for peer in self.datapath.peers), 3)
        self.assertEqual(self.words(), ["miss"] * 3)
        for client in two:
            client.reset()
        self.over()

    def test_it_fails(self) -> None:
        """Where the server fails, one is told so, and the next asks again for the rest."""
        self.store()
        clients = self.many(4)
        self.server.close()
        self.network.flush()
        self.clock.advance(0)
        self.network.flush()
        self.assertEqual(self.told(clients[0])[0], 502)
        self.assertEqual(len(self.datapath.peers), 2)
        self.say(self.server, answer(b"hello", FRESH))
        self.assertEqual(self.bodies(clients[1:]), {(200, b"hello")})
        self.over()

    def test_a_second_server(self) -> None:
        """It may answer in the place of a slow one; and where none does, both are let go."""
        self.store(1, 1, pool={"hedge_after": 0.5, "response_timeout": 2.0})
        for answers in (True, False):
            client = self.ask(get(target=b"/%d" % answers))
            self.pass_time(0.5)
            servers = [peer for peer in self.datapath.peers if b"GET" in self.heard(peer)]
            self.assertEqual(len(servers), 2)
            if answers:
                self.say(servers[1], answer(b"hello", FRESH))
            else:
                self.pass_time(5)
            self.assertEqual(self.told(client)[0], 200 if answers else 504)
        self.assertEqual([record.hedged for record in self.notebook.requests], [True, True])
        self.assertEqual([record.chosen for record in self.notebook.requests], ["hedge", "balance"])
        self.assertEqual([server.open for server in self.pool.servers], [0, 0])
        self.over()

    def test_it_breaks(self) -> None:
        """An answer that is cut is cut for all who read it, and nothing of it is stored."""
        self.store()
        clients = self.many(3)
        self.say(self.server, answer(b"hello", FRESH)[:-2])
        self.server.close()
        self.network.flush()
        self.pass_time(2)
        for client in clients:
            self.assertTrue(client.received.endswith(b"hel"))
            self.assertTrue(client.ended.name != "NOT")
        self.assertEqual({reason for _, reason in self.outcomes()}, {Reason.ANSWER_CUT})
        self.assertEqual(len(self.cache.store), 0)
        self.over()

    def test_it_takes_too_long(self) -> None:
        """Who has waited for so long asks by itself; the first waits for as long as the server may take."""
        self.store(lock_timeout=2.0)
        clients = self.many(2)
        self.pass_time(4)
        self.assertEqual(len(self.datapath.peers), 2)
        self.say(self.datapath.peers[1], answer(b"own", FRESH))
        self.assertEqual(self.told(clients[1])[2], b"own")
        self.pass_time(60)
        self.assertEqual(self.told(clients[0])[0], 504)
        self.assertEqual(self.outcomes()[-1][1], Reason.ANSWER_TIMEOUT)
        self.over()

    def test_variants(self) -> None:
        """Who is no match for an answer that goes by a field asks for its own, with others like it."""
        self.store()
        ones = self.many(2, get(b"X: 1"))
        twos = self.many(2, get(b"X: 2"))
        self.say(self.server, answer(b"one", FRESH, b"Vary: X\r\n"))
        self.clock.advance(0)
        self.assertEqual(self.bodies(ones), {(200, b"one")})
        self.assertEqual(self.bodies(twos), {(0, b"")})
        self.assertEqual(len(self.datapath.peers), 1)
        self.say(self.server, answer(b"two", FRESH, b"Vary: X\r\n"))
        self.assertEqual(self.bodies(twos), {(200, b"two")})
        self.over()

    def test_too_long(self) -> None:
        """What turns out to be too long is passed on to all who read it, and is not stored."""
        self.store(max_object=100_000)
        clients = self.many(3)
        self.say(self.server, b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + FRESH + b"\r\n" + b"#" * 50_000)
        self.say(self.server, b"@" * 100_000)
        self.server.close()
        self.network.flush()
        self.clock.advance(0)
        for client in clients:
            self.network.flush()
            self.assertTrue(client.received.endswith(b"0\r\n\r\n"))
            self.assertEqual((client.received.count(b"#"), client.received.count(b"@")), (50_000, 100_000))
        self.assertEqual(len(self.cache.store), 0)
        self.over()

    def test_a_slow_one_holds_nobody_up(self) -> None:
        """One who does not read makes neither the others wait, nor the server."""
        body = b"z" * 400_000
        self.store()
        slow = self.client()
        slow.stop_reading()
        self.say(slow, GET)
        quick = self.ask()
        self.say(self.server, answer(body, FRESH))
        self.assertEqual(self.told(quick)[2], body)
        self.assertEqual(self.cache.filling.used, 400_000)  # it is kept for the slow one
        slow.read_again()
        self.network.flush()
        self.assertEqual(self.told(slow)[2], body)
        self.assertEqual(self.cache.filling.used, 0)
        self.over()

    def test_many_slow_ones(self) -> None:
        """What is kept for those who do not read is bounded: what comes then is not held, and has to wait."""
        self.store(size=1_000_000)
        slow = []
        for number in range(6):
            client = self.client()
            client.stop_reading()
            self.say(client, get(target=b"/%d" % number))
            slow.append(client)
            self.say(self.server, answer(b"%d" % number * 400_000, FRESH))
            self.assertLessEqual(self.cache.filling.used, 1_000_000)
        for number, client in enumerate(slow):
            client.read_again()
            for _ in range(20):
                self.clock.advance(0)
                self.network.flush()
            self.assertEqual(self.told(client)[2], b"%d" % number * 400_000)
        self.over()

    def test_many_slow_ones_of_what_is_too_long(self) -> None:
        """What turns out to be too long to be stored counts, too, until the slow ones have what was held."""
        self.store(size=1_000_000, max_object=900_000)
        body, clients, held = b"x" * 1_200_000, [], 0
        for number in range(6):
            client = self.client()
            client.stop_reading()
            self.say(client, get(target=b"/%d" % number))
            server = self.server
            self.say(server, b"HTTP/1.1 200 OK\r\nDate: then\r\n" + FRESH + b"\r\n" + body)
            server.finish()
            held += len(body) - server.queued
            clients.append(client)
        self.assertLess(held, 1_000_000 + 6 * (AHEAD + 4) * PIECE)
        for client in clients:
            client.read_again()
            for _ in range(40):
                self.clock.advance(0)
                self.network.flush()
            self.assertEqual(self.told(client)[2].count(b"x"), len(body))
        self.over()

    def test_too_long_and_slow(self) -> None:
        """What is not stored comes no faster than its client takes it."""
        self.store(max_object=1000)
        slow = self.client()
        slow.stop_reading()
        self.say(slow, GET)
        self.say(
            self.server,
            b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n" + FRESH + b"\r\n" + b"#" * 4_000_000,
        )
        (fetch,) = self.factory.streams
        self.assertLess(fetch.server.received, 1_000_000)
        slow.read_again()
        self.network.flush()
        self.assertEqual(slow.received.count(b"#"), 4_000_000)
        self.over()
