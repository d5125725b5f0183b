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


class Validation(CachingCase):
    """What is stale is asked about."""

    SHORT = b"Cache-Control: max-age=10\r\n"

    def test_still_good(self) -> None:
        """RFC 9111, 4.3: the server is asked with what is stored, and its 304 renews that."""
        self.store()
        self.fill(self.SHORT, ETAG, b"X: 1\r\n")
        self.pass_time(11)
        client = self.ask(get(b'If-None-Match: "mine"'))
        self.assertIn(b'\r\nIf-None-Match: "a"\r\n', self.heard(self.server))
        self.say(self.server, b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nX: 2\r\n' + self.SHORT + b"\r\n")
        self.assertEqual(self.told(client)[0], 200)
        self.pass_time(5)
        status, fields, body = self.told(self.ask())
        self.assertEqual((status, body, fields[b"x"], fields[b"age"]), (200, b"hello", b"2", b"5"))
        self.assertEqual(self.words(), ["miss", "revalidated", "hit"])
        self.over()

    def test_fields_for_one(self) -> None:
        """RFC 9111, 5.2.2.7: what a 304 says to one alone is for who has asked, and not stored."""
        self.store(ignore_set_cookie=True)
        self.fill(self.SHORT, ETAG, b"X: all\r\n")
        self.pass_time(11)
        clients = [self.ask(), self.ask()]
        mine = b'Cache-Control: max-age=10, private="X"\r\nX: mine\r\nSet-Cookie: a=b\r\n'
        self.say(self.server, b"HTTP/1.1 304 Not Modified\r\n" + mine + b"\r\n")
        told = [self.told(client) for client in (*clients, self.ask())]
        self.assertEqual([body for _, _, body in told], [b"hello"] * 3)
        self.assertEqual([fields.get(b"x") for _, fields, _ in told], [b"mine", None, None])
        self.assertEqual([fields.get(b"set-cookie") for _, fields, _ in told], [b"a=b", None, None])
        self.over()

    def test_together(self) -> None:
        """All who ask meanwhile wait for the same answer."""
        self.store()
        self.fill(self.SHORT, ETAG)
        self.pass_time(11)
        clients = [self.ask() for _ in range(5)]
        self.say(self.server, b"HTTP/1.1 304 Not Modified\r\n" + self.SHORT + b"\r\n")
        self.assertEqual({self.told(client)[2] for client in clients}, {b"hello"})
        self.assertEqual(self.heard(self.server).count(b"GET"), 1)
        self.over()

    def test_changed(self) -> None:
        """A whole answer takes the place of what is stored."""
        self.store()
        self.fill(self.SHORT, ETAG)
        self.pass_time(11)
        client = self.ask()
        self.say(self.server, answer(b"new", FRESH))
        self.assertEqual(self.told(client)[2], b"new")
        self.assertEqual(self.told(self.ask())[2], b"new")
        self.assertEqual(len(self.cache.store), 1)
        self.over()

    def test_about_another(self) -> None:
        """A 304 that is about something else is not believed: the whole is asked for."""
        self.store()
        self.fill(self.SHORT, ETAG)
        self.pass_time(11)
        client = self.ask()
        self.say(self.server, b'HTTP/1.1 304 Not Modified\r\nETag: "b"\r\n\r\n')
        self.clock.advance(0)
        self.network.flush()
        asked = self.heard(self.server)
        self.assertEqual((asked.count(b"GET"), asked.count(b"If-None-Match")), (2, 1))
        self.say(self.server, answer(b"new", FRESH))
        self.assertEqual(self.told(client)[2], b"new")
        self.over()

    def test_stale_while_revalidate(self) -> None:
        """RFC 5861, 3: what is stale is used, and asked for anew once, behind that."""
        self.store(stale_while_revalidate=30.0)
        self.fill(self.SHORT, ETAG)
        self.pass_time(11)
        for _ in range(3):
            status, fields, body = self.told(self.ask())
            self.assertEqual((status, body), (200, b"hello"))
            self.assertTrue(fields[b"cache-status"].startswith(b"proxyd; hit; ttl=-1"), fields)
        self.assertEqual(self.heard(self.server).count(b"GET"), 1)
        self.say(self.server, answer(b"new", FRESH))
        self.assertEqual(self.told(self.ask())[2], b"new")
        self.assertEqual(self.words(), ["miss", "stale", "stale", "stale", "hit"])
        self.assertEqual(self.cache.refreshing, 0)
        self.over()

    def test_head_of_what_is_stale(self) -> None:
        """A HEAD gets what is stale, and has nothing fetched behind that: its answer has no body to store."""
        self.store(stale_while_revalidate=30.0)
        self.fill(self.SHORT)
        self.pass_time(11)
        status, fields, body = self.told(self.ask(get(method=b"HEAD")))
        self.assertEqual((status, fields[b"content-length"], body), (200, b"5", b""))
        self.assertEqual((len(self.datapath.peers), self.heard(self.server)), (1, b""))
        client = self.ask()
        self.assertTrue(self.heard(self.server).startswith(b"GET "))
        self.assertEqual(self.told(client)[2], b"hello")
        self.say(self.server, answer(b"again", FRESH))
        self.assertEqual(self.told(self.ask())[2], b"again")
        self.over()

    def test_stale_if_error(self) -> None:
        """RFC 5861, 4: where the server fails, or says that it does, what is stale is used."""
        self.store(stale_if_error=100.0)
        self.fill(self.SHORT)
        self.pass_time(11)
        clients = [self.ask(), self.ask()]
        self.say(self.server, answer(b"", status=b"503 No"))
        self.assertEqual({self.told(client)[2] for client in clients}, {b"hello"})
        clients = [self.ask(), self.ask()]
        for _ in range(2):  # a connection that was kept may have been closed just now, so there is another
            self.server.close()
            self.pass_time(1)
        self.assertEqual({self.told(client)[2] for client in clients}, {b"hello"})
        self.assertEqual(self.words(), ["miss"] + ["stale"] * 4)
        self.pass_time(100)
        client = self.ask()
        self.say(self.server, answer(b"", status=b"503 No"))
        self.assertEqual(self.told(client)[0], 503)
        self.over()

    def test_stale_and_purged(self) -> None:
        """What was purged while its server was asked is not used, be it that it was evicted before that."""
        for evicted in (False, True):
            self.store(stale_if_error=100.0, size=6000)
            self.fill(self.SHORT)
            self.pass_time(11)
            client = self.ask()
            server = self.server
            for number in range(6 * evicted):
                self.fill(request=get(target=b"/%d" % number), body=bytes(1000))
            self.cache.purge_url(b"http://example.com/x")
            self.say(server, answer(b"", status=b"503 No"))
            self.assertEqual(self.told(client)[0], 503)
            self.over()

    def test_must_revalidate(self) -> None:
        """RFC 9111, 5.2.2.2: then a failure is told."""
        self.store(stale_if_error=100.0, stale_while_revalidate=100.0)
        self.fill(b"Cache-Control: max-age=10, must-revalidate\r\n", ETAG)
        self.pass_time(11)
        client = self.ask()
        self.say(self.server, answer(b"", status=b"503 No"))
        self.assertEqual(self.told(client)[0], 503)
        self.over()

    def test_not_to_be_stored_any_more(self) -> None:
        """What its server does not want stored any more is used no more."""
        self.store()
        self.fill(self.SHORT, ETAG)
        self.pass_time(11)
        client = self.ask()
        self.say(self.server, answer(b"mine", b"Cache-Control: private\r\n"))
        self.assertEqual(self.told(client)[2], b"mine")
        self.assertEqual(len(self.cache.store), 0)
        self.over()

    def test_somebody(self) -> None:
        """What somebody with a password is told takes nothing away from others."""
        self.store(stale_if_error=1000.0)
        self.fill(self.SHORT, ETAG)
        self.pass_time(11)
        somebody = self.ask(get(b"Authorization: Basic x"))
        self.say(self.server, answer(b"mine", self.SHORT))
        self.assertEqual(self.told(somebody)[2], b"mine")
        other = self.ask()
        self.say(self.server, answer(b"", status=b"503 No"))
        self.assertEqual(self.told(other)[2], b"hello")
        self.over()

    def test_negative(self) -> None:
        """What is not there is not asked for again and again, if the operator says so."""
        self.store(negative=((404, 10.0),))
        client = self.ask()
        self.say(self.server, answer(b"none", status=b"404 Not Found"))
        self.heard(client)
        self.assertEqual(self.told(self.ask())[0], 404)
        self.assertEqual(self.words(), ["miss", "hit"])
        self.over()
