"""Are the heads of HTTP/1 read in one way only, and everything else refused with the right status?"""

from __future__ import annotations

from random import Random
from typing import Optional, Union

from proxyd.wire.chunked import Chunks
from proxyd.wire.http1 import (
    CHUNKED,
    FIELDS,
    HEAD_BYTES,
    UNTIL_CLOSE,
    Answer,
    Memory,
    Request,
    may_be_skipped,
    parse_answer,
    parse_request,
)
from proxyd.wire.httpfields import REMEMBERED_HEADS, Lines, Unacceptable
from tests.support.case import Case
from tests.support.mutations import mutations
from tests.support.smuggling import SMUGGLED, corpus

HOST = b"Host: a\r\n"


def get(fields: bytes = b"", line: bytes = b"GET / HTTP/1.1", host: bytes = HOST) -> bytes:
    """A request without a body."""
    return line + b"\r\n" + host + fields + b"\r\n"


def request(data: bytes) -> Request:
    """The request that these bytes begin with."""
    found = parse_request(data, Memory(Lines()))
    assert found is not None, data
    return found


def answer(data: bytes, method: bytes = b"GET") -> Answer:
    """The answer that these bytes begin with."""
    found = parse_answer(data, Memory(Lines()), method)
    assert found is not None, data
    return found


REFUSED = (
    # section, status, what is sent
    ("9112 3", 400, b"GET /\r\n\r\n"),
    ("9112 3", 400, get(line=b"GET  / HTTP/1.1")),
    ("9112 3", 400, get(line=b"GET / HTTP/1.1 ")),
    ("9112 3", 400, get(line=b"GET\t/ HTTP/1.1")),
    ("9112 3", 400, get(line=b"G(T / HTTP/1.1")),
    ("9112 3", 400, get(line=b"GET / http/1.1")),
    ("9112 3", 400, b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("9112 3.2", 400, get(line=b"GET /\x7f HTTP/1.1")),
    ("9112 3.2", 400, get(line=b"GET /\xe4 HTTP/1.1")),
    ("9112 3.2", 400, get(line=b"GET /#x HTTP/1.1")),
    ("9112 3.2", 400, get(line=b"GET a HTTP/1.1")),
    ("9112 3.2", 400, get(line=b"GET ftp://a/ HTTP/1.1")),
    ("9112 3.2.2", 400, get(line=b"GET http://b/ HTTP/1.1")),
    ("9112 3.2.2", 400, get(line=b"GET http://u@a/ HTTP/1.1")),
    ("9112 3.2.2", 400, get(line=b"GET http:///x HTTP/1.1")),
    ("9112 3.2.4", 400, get(line=b"GET * HTTP/1.1")),
    ("9110 2.5", 505, get(line=b"GET / HTTP/2.0")),
    ("9110 2.5", 505, get(line=b"GET / HTTP/1.2")),
    ("9110 9.1", 501, get(line=b"TRACE / HTTP/1.1")),
    ("9110 9.1", 501, get(line=b"CONNECT a:443 HTTP/1.1")),
    ("9110 9.1", 501, get(line=b"X" * 33 + b" / HTTP/1.1")),
    ("9112 3.2", 400, get(host=b"")),
    ("9112 3.2", 400, get(host=b"Host:\r\n")),
    ("9112 3.2", 400, get(b"Host: a\r\n")),
    ("9112 3.2", 400, get(host=b"Host: a b\r\n")),
    ("9112 3.2", 400, get(host=b"Host: u@a\r\n")),
    ("9112 3.2", 400, get(host=b"Host: a/\r\n")),
    ("9112 2.2", 400, b"GET / HTTP/1.1\nHost: a\n\n"),
    ("9112 2.2", 400, get(b"X: y\n")),
    ("9112 5.2", 400, get(b"X: y\r\n z\r\n")),
    ("9110 5.5", 400, get(b"X: y\rz\r\n")),
    ("9112 6.1", 400, get(b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n")),
    ("9112 6.1", 400, get(b"Transfer-Encoding: chunked\r\n", b"GET / HTTP/1.0")),
    ("9112 6.1", 400, get(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
    ("9112 6.1", 501, get(b"Transfer-Encoding: gzip, chunked\r\n")),
    ("9112 6.3", 400, get(b"Transfer-Encoding: gzip\r\n")),
    ("9112 6.3", 400, get(b"Transfer-Encoding: chunked, chunked\r\n")),
    ("9112 6.3", 400, get(b"Content-Length: 1\r\nContent-Length: 1\r\n")),
    ("9110 8.6", 400, get(b"Content-Length: 1, 1\r\n")),
    ("9110 8.6", 400, get(b"Content-Length: +1\r\n")),
    ("9110 8.6", 400, get(b"Content-Length: 1111111111111111111\r\n")),
    ("9110 5.1", 400, get(b"Content_Length: 1\r\n")),
    ("9110 7.6.1", 400, get(b"Connection: Content-Length\r\n")),
    ("9110 7.6.1", 400, get(b"Connection: a b\r\n")),
    ("9110 10.1.1", 417, get(b"Expect: more\r\n")),
    ("6585 5", 431, get(b"X: y\r\n" * FIELDS)),
    ("6585 5", 431, get(b"X: " + b"y" * HEAD_BYTES)),
    ("9112 3", 414, b"GET /" + b"x" * HEAD_BYTES),
)

FRAMED = (
    # section, fields, length
    ("9112 6.3", b"", 0),
    ("9112 6.3", b"Content-Length: 0\r\n", 0),
    ("9112 6.3", b"content-length:  000017 \r\n", 17),
    ("9112 6.3", b"Content-Length: 999999999999999999\r\n", 999999999999999999),
    ("9112 7.1", b"Transfer-Encoding: chunked\r\n", CHUNKED),
    ("9112 7", b"transfer-encoding: CHUNKED\r\n", CHUNKED),
)

TARGETS = (
    # section, request line, Host, target, host
    ("9112 3.2.1", b"GET /a?b=c HTTP/1.1", HOST, b"/a?b=c", b"a"),
    ("9112 3.2.1", b"GET //a/../b|{}\\^ HTTP/1.1", HOST, b"//a/../b|{}\\^", b"a"),
    ("9112 3.2.2", b"GET http://A:80/x HTTP/1.1", b"Host: a:80\r\n", b"/x", b"A:80"),
    ("9112 3.2.2", b"GET HTTP://a HTTP/1.1", HOST, b"/", b"a"),
    ("9112 3.2.2", b"GET http://a?b HTTP/1.1", HOST, b"/?b", b"a"),
    ("9112 3.2.2", b"GET https://[::1]:8443/x HTTP/1.0", b"", b"/x", b"[::1]:8443"),
    ("9112 3.2.4", b"OPTIONS * HTTP/1.1", HOST, b"*", b"a"),
    ("9112 3.2.4", b"OPTIONS http://a HTTP/1.1", HOST, b"*", b"a"),
    ("9112 3.2", b"GET / HTTP/1.0", b"", b"/", b""),
    ("9112 3.2", b"GET / HTTP/1.1", b"Host: [fe80::1]:80\r\n", b"/", b"[fe80::1]:80"),
)

LASTING = (
    # version, Connection, whether it goes on
    (b"1.1", b"", True),
    (b"1.1", b"Connection: close\r\n", False),
    (b"1.1", b"Connection: keep-alive, CLOSE\r\n", False),
    (b"1.1", b"Connection: close\r\nConnection: keep-alive\r\n", False),
    (b"1.0", b"", False),
    (b"1.0", b"Connection: Keep-Alive\r\n", True),
    (b"1.0", b"Connection: keep-alive, close\r\n", False),
)


class Requests(Case):
    """The head of a request."""

    def test_refused(self) -> None:
        """Everything that could be understood in two ways, or not at all."""
        for section, status, data in REFUSED:
            wrong = self.assertRaises(Unacceptable, parse_request, data, Memory(Lines()))
            self.assertEqual((wrong.section, wrong.status), (section, status), data[:100])

    def test_smuggling(self) -> None:
        """No attack of the corpus is taken: neither its head, nor the end of its body."""
        attacks = corpus()
        self.assertGreaterEqual(len(attacks), 300)
        for attack in attacks:
            try:
                found = request(attack.data)
                self.assertEqual(found.said.length, CHUNKED, attack)
                Chunks().feed(attack.data[found.took :])
            except Unacceptable:
                continue
            self.fail(f"it was taken: {attack}")

    def test_framed(self) -> None:
        """There is one way in which a body ends."""
        for section, fields, length in FRAMED:
            self.assertEqual(request(get(fields)).said.length, length, section)

    def test_targets(self) -> None:
        """A request is for one host; its target leaves in origin-form."""
        for section, line, host, target, found in TARGETS:
            parsed = request(get(line=line, host=host))
            self.assertEqual((parsed.target, parsed.host), (target, found), section)

    def test_lasting(self) -> None:
        """Who wants to go on (RFC 9112, 9.3)."""
        for version, fields, persistent in LASTING:
            self.assertEqual(
                request(get(fields, b"GET / HTTP/" + version)).said.persistent, persistent, fields
            )

    def test_fields(self) -> None:
        """What is for us alone stops here, also what Connection names; the rest goes on in its order."""
        found = request(
            get(
                b"A: 1\r\nConnection: X-Mine, keep-alive\r\nx-mine: 2\r\nKeep-Alive: 5\r\n"
                b"Proxy-Connection: x\r\nTE: trailers, deflate\r\nB: 3\r\nX_Forwarded_For: z\r\n"
                b"Via: 1.0 x\r\nA: 4\r\nHTTP2-Settings: x\r\n"
            )
        )
        self.assertEqual(
            [field[2] for field in found.said.fields],
            [b"A: 1\r\n", b"B: 3\r\n", b"Via: 1.0 x\r\n", b"A: 4\r\n"],
        )
        self.assertTrue(found.said.trailers)

    def test_empty_line_before(self) -> None:
        """One empty line before a request is passed over (RFC 9112, 2.2)."""
        data = get()
        self.assertEqual(request(b"\r\n" + data + b"rest").took, len(data) + 2)

    def test_expects(self) -> None:
        """A client of HTTP/1.0 does not wait for 100, nor one without a body (RFC 9110, 10.1.1)."""
        expects, body = b"Expect: 100-Continue\r\n", b"Content-Length: 1\r\n"
        self.assertTrue(request(get(expects + body)).said.expects)
        self.assertFalse(request(get(expects + body, b"GET / HTTP/1.0")).said.expects)
        self.assertFalse(request(get(expects)).said.expects)
        self.assertFalse(request(get(expects + b"Content-Length: 0\r\n")).said.expects)

    def test_may_be_skipped(self) -> None:
        """A body that servers may leave unread, and then take for a request (RFC 9110, 9.3 and 10.1.1)."""
        body, expects = b"Content-Length: 1\r\n", b"Expect: 100-continue\r\n"
        for line, fields, expected in (
            (b"GET / HTTP/1.1", body, True),
            (b"DELETE / HTTP/1.1", b"Transfer-Encoding: chunked\r\n", True),
            (b"GET / HTTP/1.1", b"Content-Length: 0\r\n", False),
            (b"POST / HTTP/1.1", body, False),
            (b"POST / HTTP/1.1", body + expects, True),
        ):
            self.assertEqual(may_be_skipped(request(get(fields, line))), expected, (line, fields))
        # A server that has said 100 reads what it has asked for.
        self.assertFalse(may_be_skipped(request(get(body + expects, b"POST / HTTP/1.1")), let_come=True))
        self.assertTrue(may_be_skipped(request(get(body + expects, b"DELETE / HTTP/1.1")), let_come=True))

    def test_upgrades(self) -> None:
        """Only what Connection names, never HTTP/2, not in HTTP/1.0, not before a body (RFC 9110, 7.8)."""
        for fields, line, expected in (
            (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"GET / HTTP/1.1", b"websocket"),
            (
                b"Connection: keep-alive, upgrade\r\nUpgrade: h2c, x/1 ,\r\nUpgrade: y\r\n",
                b"GET / HTTP/1.1",
                b"x/1, y",
            ),
            (b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b"GET / HTTP/1.1", b""),
            (b"Upgrade: websocket\r\n", b"GET / HTTP/1.1", b""),
            (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"GET / HTTP/1.0", b""),
            (b"Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n", b"POST / HTTP/1.1", b""),
        ):
            self.assertEqual(request(get(fields, line)).said.upgrade, expected)

    def test_bounds_are_reached(self) -> None:
        """What is just not too long, or too many, is taken."""
        self.assertEqual(len(request(get(b"X: y\r\n" * (FIELDS - 1))).said.fields), FIELDS - 1)
        data = get(b"X: %s\r\n" % (b"y" * (HEAD_BYTES - len(get()) - len(b"X: \r\n"))))
        self.assertEqual(len(data), HEAD_BYTES)
        for end in range(len(data)):
            self.assertIsNone(parse_request(data[:end], Memory(Lines())), end)
        self.assertEqual(request(data).took, HEAD_BYTES)

    def test_pieces(self) -> None:
        """However the bytes of a head are cut, right or wrong, the outcome is the same."""
        random = Random(1)
        seeds = [data for _, _, data in REFUSED if len(data) < 600]
        seeds += [get(fields) for _, fields, _ in FRAMED] + [
            get(line=line, host=host) for _, line, host, *_ in TARGETS
        ]
        for data in (*seeds, *mutations(random, seeds, 2000)):
            whole = fed([data])
            self.assertEqual(fed([data[at : at + 1] for at in range(len(data))]), whole, data)
        for data in (data for _, _, data in REFUSED if len(data) >= 600):
            places = sorted(random.randrange(len(data)) for _ in range(20))
            pieces = [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)])]
            self.assertEqual(fed(pieces), fed([data]))

    def test_what_was_said_before(self) -> None:
        """What a connection has said before changes nothing of how it is understood."""
        random = Random(4)
        seeds = [get(fields) for _, fields, _ in FRAMED] + [
            get(line=line, host=host) for _, line, host, *_ in TARGETS
        ]
        seeds += [get(fields, b"GET / HTTP/" + version) for version, fields, _ in LASTING]
        memory = Memory(Lines())
        self.assertIs(parse_request(get(), memory), parse_request(get(), memory))
        known = 0
        for data in (
            data for broken in mutations(random, seeds, 2000) for data in (random.choice(seeds), broken)
        ):
            before = memory.said
            self.assertEqual(fed([data], memory=memory), fed([data]), data)
            known += before is memory.said
        self.assertGreater(known, 300)

    def test_what_others_have_said(self) -> None:
        """Nor does what other connections have said; of what is shared with them that is known."""
        random = Random(5)
        seeds = [get(fields) for _, fields, _ in FRAMED] + [
            get(fields, b"GET / HTTP/" + version) for version, fields, _ in LASTING
        ]
        lines = Lines()
        known = 0
        for data in (
            data for broken in mutations(random, seeds, 2000) for data in (random.choice(seeds), broken)
        ):
            memory = Memory(lines)
            before = list(lines.heads.values())
            self.assertEqual(fed([data], memory=memory), fed([data]), data)
            said = memory.said
            known += said in before
            self.assertLessEqual(len(lines.heads), REMEMBERED_HEADS)
            if said is not None:
                self.assertIn(said, lines.heads.values())
        self.assertGreater(known, 300)

    def test_secrets_are_not_remembered(self) -> None:
        """A head with a cookie or a password in it is nobody else's."""
        lines = Lines()
        for secret in (b"Cookie: a=b", b"Authorization: Basic eDp5"):
            request = get(b"A: 1\r\n" + secret + b"\r\n")
            self.assertIsNotNone(parse_request(request, Memory(lines)))
        self.assertEqual(lines.heads, {})
        self.assertIsNotNone(parse_request(get(b"A: 1\r\n"), Memory(lines)))
        self.assertEqual(len(lines.heads), 1)

    def test_rebuilt_is_the_same(self) -> None:
        """What leaves, read again, means what came."""
        random = Random(2)
        seeds = [get(fields) for _, fields, _ in FRAMED] + [get(b"A: 1\r\nB:  2 \r\nC:\r\n"), SMUGGLED]
        taken = 0
        for data in mutations(random, seeds, 3000):
            try:
                found = parse_request(data, Memory(Lines()))
            except Unacceptable:
                continue
            if found is None or not found.host:
                continue
            taken += 1
            lines = b"".join(field[2] for field in found.said.fields)
            again = request(
                b"%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (found.method, found.target, found.host, lines)
            )
            self.assertEqual((again.target, again.host, again.said.length), (found.target, found.host, 0))
            self.assertEqual(again.said.fields, found.said.fields)
        self.assertGreater(taken, 200)


ANSWERS = (
    # section, method, head without its end, length of the body, whether it goes on
    ("9112 6.3", b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", 5, True),
    ("9112 6.3", b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", CHUNKED, True),
    ("9112 6.3", b"GET", b"HTTP/1.1 200 OK\r\n", UNTIL_CLOSE, False),
    ("9112 6.3", b"GET", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", UNTIL_CLOSE, False),
    ("9112 6.3", b"GET", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n", 5, True),
    ("9112 6.3", b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", 0, True),
    ("9112 6.3", b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", 0, True),
    ("9112 6.3", b"GET", b"HTTP/1.1 204 No Content\r\n", 0, True),
    ("9112 6.3", b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n", 0, True),
    ("9112 6.3", b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n", 0, True),
    ("9112 6.3", b"GET", b"HTTP/1.1 100 Continue\r\n", 0, True),
    ("9112 9.3", b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n", 5, False),
    ("9112 4", b"GET", b"HTTP/1.1 200\r\nContent-Length: 0\r\n", 0, True),
    ("9112 4", b"GET", b"HTTP/1.1 200 \r\nContent-Length: 0\r\n", 0, True),
)

WRONG_ANSWERS = (
    ("9112 4", b"HTTP/1.1 2000 OK\r\n\r\n"),
    ("9112 4", b"HTTP/1.1 600 OK\r\n\r\n"),
    ("9112 4", b"HTTP/2 200 OK\r\n\r\n"),
    ("9112 4", b"ICY 200 OK\r\n\r\n"),
    ("9112 4", b"HTTP/1.1  200 OK\r\n\r\n"),
    ("9112 4", b"HTTP/1.1 200 O\x00K\r\n\r\n"),
    ("9112 2.2", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    ("9112 5.2", b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n"),
    ("9112 6.3", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"),
    ("9112 6.1", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("9112 6.1", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("9112 6.1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    ("9112 6.3", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"),
    ("9110 8.6", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
    ("9110 8.6", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
    ("9110 8.6", b"HTTP/1.1 101 Switching\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("6585 5", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (FIELDS + 1) + b"\r\n"),
    ("6585 5", b"HTTP/1.1 200 OK\r\nX: " + b"y" * HEAD_BYTES),
    ("9112 3", b"HTTP/1.1 200 " + b"y" * HEAD_BYTES),
)


class Answers(Case):
    """The head of an answer."""

    def test_framed(self) -> None:
        """There is one way in which a body ends, and it depends on the request and the status."""
        for section, method, head, length, persistent in ANSWERS:
            found = answer(head + b"\r\n", method)
            self.assertEqual(
                (found.said.length, found.said.persistent), (length, persistent), (section, head)
            )

    def test_wrong(self) -> None:
        """Servers are read as strictly as clients."""
        for section, data in WRONG_ANSWERS:
            wrong = self.assertRaises(Unacceptable, parse_answer, data, Memory(Lines()))
            self.assertEqual(wrong.section, section, data[:100])

    def test_parts(self) -> None:
        """The status, its reason, the length that is declared, and the fields that are passed on."""
        found = answer(
            b"HTTP/1.1 404 Not  Found\r\nServer: x\r\nConnection: x-mine\r\nX-Mine: 1\r\nKeep-Alive: 3\r\n"
            b"Content-Length: 7\r\nTrailer: y\r\n\r\nrest",
            b"HEAD",
        )
        self.assertEqual((found.status, found.reason, found.said.declared), (404, b"Not  Found", 7))
        self.assertEqual([field[2] for field in found.said.fields], [b"Server: x\r\n", b"Trailer: y\r\n"])

    def test_patience(self) -> None:
        """For how long the server says that it keeps a connection (RFC 2068, 19.7.1.1)."""
        for value, seconds in (
            (b"timeout=5, max=100", 5),
            (b"max=3,Timeout = 0", 0),
            (b"max=3", None),
            (b"xtimeout=5", None),
        ):
            found = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: %s\r\n\r\n" % value)
            self.assertEqual((found.said.patience, found.said.fields), (seconds, []))

    def test_switches(self) -> None:
        """What it goes on with."""
        found = answer(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        self.assertEqual((found.status, found.said.upgrade, found.said.length), (101, b"websocket", 0))

    def test_what_was_said_before(self) -> None:
        """The same head, and what was asked for, is understood without being read again; no other is."""
        memory = Memory(Lines())
        data = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde"
        first = parse_answer(data, memory)
        assert first is not None
        self.assertIs(parse_answer(data, memory), first)
        of_head = parse_answer(data, memory, b"HEAD")
        assert of_head is not None
        self.assertEqual((first.said.length, of_head.said.length), (5, 0))
        again = parse_answer(data, memory)
        assert again is not None
        self.assertEqual(again.said.length, 5)

    def test_pieces(self) -> None:
        """However the bytes of a head are cut, right or wrong, the outcome is the same."""
        random = Random(3)
        seeds = [head + b"\r\n" for _, _, head, *_ in ANSWERS]
        seeds += [data for _, data in WRONG_ANSWERS if len(data) < 600]
        for data in (*seeds, *mutations(random, seeds, 2000)):
            whole = fed([data], True)
            self.assertEqual(fed([data[at : at + 1] for at in range(len(data))], True), whole, data)


def fed(
    pieces: list[bytes], of_a_server: bool = False, memory: Optional[Memory] = None
) -> Union[None, str, tuple[object, ...]]:
    """What comes of a parser that is asked again after each piece; of an error, which one."""
    memory = memory or Memory(Lines())
    data = b""
    for piece in pieces:
        data += piece
        try:
            found: Union[None, Request, Answer] = (
                parse_answer(data, memory) if of_a_server else parse_request(data, memory)
            )
        except Unacceptable as wrong:
            return str(wrong)
        if found is not None:
            said, host = found.said, found.host if isinstance(found, Request) else b""
            return found.took, host, said.length, said.persistent, said.upgrade, tuple(said.fields)
    return None
