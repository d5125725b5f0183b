"""What becomes of what is stale: is its server asked about it, and what if that fails?"""

from __future__ import annotations

from tests.frontends.http.caches import ETAG, FRESH, CachingCase, answer, get


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
        self.assertEqual(self.words(), ["miss"] + ["stale"] * 2)
        self.pass_time(100)
        client = self.ask()
        self.say(self.server, answer(b"", status=b"503 No"))
        self.assertEqual(self.told(client)[0], 503)
        self.over()

    def test_stale_if_none_is_there(self) -> None:
        """The same where the server cannot be had at all."""
        self.store(stale_if_error=100.0)
        self.fill(self.SHORT)
        self.pass_time(11)
        clients = [self.ask(), self.ask()]
        for _ in range(2):  # a connection that was kept may have been closed just now, so there is another
            self.server.close()
            self.pass_time(1)
        self.assertEqual({self.told(client)[2] for client in clients}, {b"hello"})
        self.assertEqual(self.words(), ["miss"] + ["stale"] * 2)
        self.over()

    def test_a_server_that_fails(self) -> None:
        """One has waited for it; then nobody does, and it is asked once a second behind what is given."""
        for behind in (0.0, 100.0):
            self.store(stale_if_error=100.0, stale_while_revalidate=behind)
            self.fill(self.SHORT)
            self.pass_time(11)
            first = self.ask()
            self.say(self.server, answer(b"", status=b"503 No"))
            self.assertEqual(self.told(first)[2], b"hello")
            self.heard(self.server)
            self.assertEqual(self.told(self.ask())[2], b"hello")
            self.assertEqual(self.heard(self.server), b"")
            for _ in range(2):
                self.pass_time(1)
                self.assertEqual({self.told(self.ask())[2] for _ in range(3)}, {b"hello"})
                self.assertEqual(self.heard(self.server).count(b"GET"), 1)
                self.say(self.server, answer(b"", status=b"503 No"))
            self.pass_time(1)
            self.assertEqual(self.told(self.ask())[2], b"hello")
            self.say(self.server, answer(b"new", FRESH))
            self.assertEqual(self.told(self.ask())[2], b"new")
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
