"""Does a body that is compressed, or decoded, reach the client whole, in time, and as fast as it takes it?"""

from __future__ import annotations

import gzip
from random import Random
from typing import Any
from unittest.mock import patch

from proxyd.config.compression import CompressionSpec
from proxyd.errors import Reason
from proxyd.frontends.http.recoding import PAUSE, TURN, Compressor, Recoding
from proxyd.relay.streams import CHUNK
from proxyd.wire.contentcoding import DECODERS, FEW, decoder, encoder
from tests.frontends.http.client2 import GET2, Http2Client
from tests.frontends.http.front import HttpCase
from tests.support.peer import Ended
from tests.support.streams import FakePeer

ASK = b"GET /x HTTP/1.1\r\nHost: example.com\r\nAccept-Encoding: %s\r\n\r\n"
HTML = b"HTTP/1.1 200 OK\r\nDate: then\r\nContent-Type: text/html\r\n"
ENDLESS = HTML + b"Transfer-Encoding: chunked\r\n\r\n"
TEXT = b"".join(b"<p>line %d of many</p>\n" % number for number in range(2000))
ALL = CompressionSpec(("zstd", "br", "gzip"), decompress=True)


def taken_apart(said: bytes) -> tuple[bytes, bytes, bytes]:
    """The head, the body, and what is behind it, of an answer in chunks."""
    head, _, rest = said.partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        count = int(size, 16)
        if not count:
            end = rest.index(b"\r\n") if rest.startswith(b"\r\n") else rest.index(b"\r\n\r\n") + 2
            return head, body, rest[:end]
        body, rest = body + rest[:count], rest[count + 2 :]
    return head, body, b"not complete"


def decoded(coding: str, body: bytes, whole: bool = True) -> bytes:
    """What is in this body."""
    taken_off = decoder(coding)
    found, rest = [], body
    while rest or taken_off.pending:
        found.append(taken_off.step(rest))
        rest = taken_off.rest
    if whole:
        taken_off.end()
    return b"".join(found)


def coded(coding: str, data: bytes) -> bytes:
    """The same the other way."""
    made = encoder(coding, 1)
    return made.step(data) + made.end()


class RecodingCase(HttpCase):
    """A listener that compresses."""

    def listen(self, *ports: int, **how: Any) -> None:
        spec = how.pop("compression", ALL)
        super().listen(*ports, **how)
        self.used = 0.0  # seconds of the processor
        self.lag = 0.0
        self.compressor = Compressor(spec, self.clock.seconds, self.cpu, lambda: self.lag)
        self.factory.compressor = self.compressor
        self.factory.recodes = True

    def cpu(self) -> float:
        return self.used

    def moment(self, seconds: float = 0.0) -> None:
        """Let so little time pass."""
        self.clock.advance(seconds)
        self.network.flush()

    def asks(self, accept: bytes = b"gzip", more: bytes = b"") -> FakePeer:
        """A client that takes this."""
        return self.client((ASK % accept).replace(b"\r\n\r\n", b"\r\n" + more + b"\r\n"))


class Encoded(RecodingCase):
    """Bodies that are compressed."""

    def test_whole(self) -> None:
        """Each coding, with each framing of the server's; the connection goes on behind it."""
        for coding in DECODERS:
            self.listen()
            client = self.asks(coding.encode())
            for framing in (
                HTML + b"Content-Length: %d\r\n\r\n%s" % (len(TEXT), TEXT),
                ENDLESS + b"%x\r\n%s\r\n0\r\n\r\n" % (len(TEXT), TEXT),
            ):
                self.say(self.server, framing)
                head, body, end = taken_apart(self.heard(client))
                self.assertEqual(decoded(coding, body), TEXT)
                self.assertEqual(end, b"")
                for line in (
                    b"Transfer-Encoding: chunked",
                    b"Content-Encoding: " + coding.encode(),
                    b"Vary: Accept-Encoding",
                ):
                    self.assertIn(line, head)
                self.assertNotIn(b"Content-Length", head)
                client.send(ASK % coding.encode())
                self.network.flush()
            self.assertEqual(len(self.datapath.peers), 1)
            self.say(self.server, HTML + b"Content-Length: 0\r\n\r\n")
            self.assertEqual(
                [record.encoding for record in self.notebook.requests[-3:]], [coding, coding, ""]
            )
            passed = self.compressor.passed[coding]
            self.assertEqual((passed.answers, passed.bytes_in), (2, 2 * len(TEXT)))
            self.assertEqual(passed.bytes_out, 2 * len(body))
            client.close()
            self.over()
            self.datapath.peers.clear()

    def test_until_close(self) -> None:
        """A body that ends with the server's connection ends in order."""
        self.listen()
        client = self.asks()
        self.server.send(HTML + b"\r\n" + TEXT)
        self.server.finish()
        _, body, end = taken_apart(self.heard(client))
        self.assertEqual((gzip.decompress(body), end), (TEXT, b""))
        client.close()
        self.over()

    def test_trailers(self) -> None:
        """Trailers follow the body, as they came."""
        self.listen()
        client = self.asks()
        self.say(self.server, ENDLESS + b"3\r\nabc\r\n0\r\nX-End: yes\r\n\r\n")
        _, body, end = taken_apart(self.heard(client))
        self.assertEqual((gzip.decompress(body), end), (b"abc", b"X-End: yes\r\n"))
        client.close()
        self.over()

    def test_trickle(self) -> None:
        """What the server says reaches the client a moment later, though there is more to come."""
        for coding in DECODERS:
            self.listen()
            client = self.asks(coding.encode())
            self.say(self.server, ENDLESS)
            said = self.heard(client)
            self.assertIn(b"Content-Encoding: " + coding.encode(), said)
            words = b""
            for word in (b"first ", b"second ", b"third "):
                self.say(self.server, b"%x\r\n%s\r\n" % (len(word), word))
                words += word
                self.moment(PAUSE)
                said += self.heard(client)
                _, body, _ = taken_apart(said)
                self.assertEqual(decoded(coding, body, whole=False), words, coding)
            self.say(self.server, b"0\r\n\r\n")
            _, body, _ = taken_apart(said + self.heard(client))
            self.assertEqual(decoded(coding, body), words)
            client.close()
            self.over()

    def test_gathered(self) -> None:
        """The head leaves with as much of the body as is worth sending, in one write; or after a pause."""
        for coding in DECODERS:
            for pauses in (False, True):
                self.listen()
                client = self.asks(coding.encode())
                self.say(self.server, HTML + b"Content-Length: 2000\r\n\r\n" + TEXT[:1000])
                self.assertEqual(self.heard(client), b"")
                said = b""
                if pauses:
                    self.moment(PAUSE)
                    said = self.heard(client)
                    _, body, _ = taken_apart(said)
                    self.assertEqual(decoded(coding, body, whole=False), TEXT[:1000])
                self.say(self.server, TEXT[1000:2000])
                _, body, end = taken_apart(said + self.heard(client))
                self.assertEqual((decoded(coding, body), end), (TEXT[:2000], b""))
                client.close()
                self.over()
                self.datapath.peers.clear()

    def test_bulk(self) -> None:
        """What comes without a pause is not flushed in between."""
        self.listen()
        client = self.asks()
        self.say(self.server, ENDLESS)
        for start in range(0, len(TEXT), 100):
            piece = TEXT[start : start + 100]
            self.say(self.server, b"%x\r\n%s\r\n" % (len(piece), piece))
        self.say(self.server, b"0\r\n\r\n")
        _, body, _ = taken_apart(self.heard(client))
        self.assertEqual(gzip.decompress(body), TEXT)
        self.assertLess(len(body), 1.1 * len(coded("gzip", TEXT)))
        client.close()
        self.over()

    def test_head(self) -> None:
        """The answer to a HEAD is that to a GET, without its body."""
        self.listen()
        client = self.client(ASK.replace(b"GET", b"HEAD") % b"gzip")
        self.say(self.server, HTML + b'Content-Length: 5000\r\nETag: "a"\r\n\r\n')
        said = self.heard(client)
        self.assertTrue(said.endswith(b"\r\n\r\n"))
        for line in (b"Content-Encoding: gzip\r\n", b'ETag: W/"a"\r\n', b"Vary: Accept-Encoding\r\n"):
            self.assertIn(line, said)
        self.assertNotIn(b"Content-Length", said)
        client.send(ASK % b"")
        self.say(self.server, HTML + b"Content-Length: 5000\r\n\r\n" + bytes(5000))
        self.assertIn(b"Content-Length: 5000\r\n", self.heard(client))
        client.close()
        self.over()

    def test_left(self) -> None:
        """What is not to be compressed goes as ever; who might have had it otherwise is told."""
        self.listen()
        client = self.asks(b"")
        self.say(self.server, HTML + b"Content-Length: 2000\r\n\r\n" + TEXT[:2000])
        said = self.heard(client)
        self.assertTrue(said.endswith(b"\r\n\r\n" + TEXT[:2000]))
        self.assertIn(b"Vary: Accept-Encoding\r\n", said)
        client.send(ASK % b"gzip")
        self.say(self.server, HTML + b"Content-Length: 5\r\n\r\nhello")
        self.assertNotIn(b"Vary", self.heard(client))
        client.close()
        self.over()

    def test_old_client(self) -> None:
        """HTTP/1.0 has no end for what is compressed, and gets it as it is."""
        self.listen()
        client = self.client((ASK % b"gzip").replace(b"HTTP/1.1", b"HTTP/1.0"))
        self.say(self.server, HTML + b"Content-Length: %d\r\n\r\n" % len(TEXT) + TEXT)
        self.assertTrue(self.heard(client).endswith(TEXT))
        client.close()
        self.over()

    def test_validators(self) -> None:
        """What was made weak comes back as both, and what the server knows again as what the client has."""
        self.listen()
        client = self.asks()
        self.say(self.server, HTML + b'ETag: "a"\r\nContent-Length: 2000\r\n\r\n' + TEXT[:2000])
        self.assertIn(b'ETag: W/"a"\r\n', self.heard(client))
        self.heard(self.server)
        client.send((ASK % b"gzip").replace(b"\r\n\r\n", b'\r\nIf-None-Match: W/"a"\r\n\r\n'))
        self.assertIn(b'If-None-Match: W/"a", "a"\r\n', self.heard(self.server))
        self.say(self.server, b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n')
        self.assertIn(b'ETag: W/"a"\r\n', self.heard(client))
        client.close()
        self.over()

    def test_http2(self) -> None:
        """Streams of HTTP/2 have the same."""
        self.listen()
        client = Http2Client(self)
        number = client.ask(("accept-encoding", "br"), head=GET2)
        self.say(self.server, HTML + b"Content-Length: %d\r\n\r\n" % len(TEXT) + TEXT)
        for _ in range(5):
            client.hear()
        self.assertEqual(client.heads[number]["content-encoding"], "br")
        self.assertEqual(decoded("br", bytes(client.bodies[number])), TEXT)
        self.assertEqual(client.ended, [number])
        client.peer.close()
        self.over()


class Bounds(RecodingCase):
    """What it costs others."""

    def test_client_that_does_not_read(self) -> None:
        """A client that does not read stops the server, and gets all when it reads again."""
        data = Random(5).randbytes(1_000_000)
        self.listen()
        client = self.asks()
        client.stop_reading()
        server = self.server
        server.send(HTML + b"Content-Length: %d\r\n\r\n" % len(data) + data)
        self.network.flush()
        self.assertGreater(server.queued, 500_000)
        client.read_again()
        self.network.flush()
        self.pass_time(1)
        _, body, end = taken_apart(self.heard(client))
        self.assertTrue(gzip.decompress(body) == data)
        self.assertEqual(end, b"")
        client.close()
        self.over()

    def test_turns(self) -> None:
        """Work that takes long is gone on with in another turn, and the server waits meanwhile."""
        self.listen()
        client = self.asks()
        server = self.server
        turns: list[int] = []

        def slow() -> float:
            self.used += TURN
            return self.used

        def next_turn(recoding: Recoding) -> None:
            turns.append(server.queued)
            go_on(recoding)

        self.compressor.cpu = slow
        go_on = Recoding._next_turn
        with patch.object(Recoding, "_next_turn", next_turn):
            self.say(server, HTML + b"Content-Length: %d\r\n\r\n" % (8 * len(TEXT)) + 8 * TEXT)
        self.assertGreaterEqual(len(turns), 8 * len(TEXT) // CHUNK)
        self.assertGreater(turns[0], 0)
        self.assertGreater(self.compressor.passed["gzip"].cpu_seconds, len(turns) * TURN)
        _, body, _ = taken_apart(client.received)
        self.assertEqual(gzip.decompress(body), 8 * TEXT)
        client.close()
        self.over()

    def test_no_time(self) -> None:
        """While the loop is late, or compression has had its share, answers stay as they are."""
        self.listen()
        client = self.asks()
        for why in ("lag", "share"):
            self.lag = 1.0 if why == "lag" else 0.0
            self.compressor.guard.spent(9.0 if why == "share" else 0.0)
            self.say(self.server, HTML + b"Content-Length: 2000\r\n\r\n" + TEXT[:2000])
            said = self.heard(client)
            self.assertTrue(said.endswith(TEXT[:2000]), why)
            self.assertIn(b"Vary: Accept-Encoding\r\n", said)
            client.send(ASK % b"gzip")
        self.pass_time(30)
        self.say(self.server, HTML + b"Content-Length: 2000\r\n\r\n" + TEXT[:2000])
        self.assertIn(b"Content-Encoding: gzip", self.heard(client))
        shown = self.compressor.snapshots("front")
        self.assertEqual(
            [(one.encoding, one.answers, one.passed_over) for one in shown][2:],
            [("gzip", 1, 2), ("identity", 0, 0)],
        )
        client.close()
        self.over()

    def test_cut(self) -> None:
        """A body that the server does not complete is cut, and leaves nothing behind."""
        self.listen()
        client = self.asks()
        self.say(self.server, HTML + b"Content-Length: 2000\r\n\r\n" + TEXT[:1000])
        self.moment(PAUSE)
        self.server.close()
        self.assertEqual(taken_apart(self.heard(client))[2], b"not complete")
        self.assertIsNot(client.ended, Ended.NOT)
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWER_CUT)])
        self.assertEqual(self.compressor.guard.under_way, 0)
        self.over()

    def test_cut_at_once(self) -> None:
        """If the client has got nothing of it yet, it gets a page instead."""
        self.listen()
        client = self.asks()
        self.say(self.server, HTML + b"Content-Length: 2000\r\n\r\n" + TEXT[:1000])
        self.server.close()
        said = self.heard(client)
        self.assertTrue(said.startswith(b"HTTP/1.1 502 Bad Gateway\r\n"), said)
        self.assertNotIn(b"Content-Encoding", said)
        self.assertEqual(self.outcomes(), [(502, Reason.ANSWER_CUT)])
        self.assertEqual(self.compressor.guard.under_way, 0)
        client.close()
        self.over()

    def test_client_that_leaves(self) -> None:
        """So it is if the client leaves in the midst of it."""
        self.listen()
        client = self.asks()
        self.say(self.server, HTML + b"Content-Length: 2000\r\n\r\n" + TEXT[:1000])
        client.close()
        self.assertEqual(self.outcomes(), [(200, Reason.CLIENT_GONE)])
        self.assertEqual(self.compressor.guard.under_way, 0)
        self.over()

    def test_wrong_framing(self) -> None:
        """A chunk that is none cuts it."""
        self.listen()
        client = self.asks()
        self.say(self.server, ENDLESS + b"3\r\nabc\r\nx")
        self.moment(PAUSE)
        self.say(self.server, b"x\r\n")
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWER_MALFORMED)])
        self.assertIsNot(client.ended, Ended.NOT)
        self.over()


class Decoded(RecodingCase):
    """Bodies that are decoded for those who cannot take them as they are."""

    def coded_by(self, coding: str, data: bytes = TEXT) -> bytes:
        body = coded(coding, data)
        return HTML + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s" % (
            coding.encode(),
            len(body),
            body,
        )

    def test_whole(self) -> None:
        """Each coding; who takes it gets it as it is."""
        for coding in DECODERS:
            self.listen()
            client = self.asks(b"")
            self.say(self.server, self.coded_by(coding))
            self.moment()
            head, body, _ = taken_apart(self.heard(client))
            self.assertEqual(body, TEXT, coding)
            self.assertNotIn(b"Content-Encoding", head)
            self.assertIn(b"Vary: Accept-Encoding", head)
            client.send(ASK % coding.encode())
            self.say(self.server, self.coded_by(coding))
            self.assertTrue(self.heard(client).endswith(coded(coding, TEXT)))
            self.assertEqual([one.encoding for one in self.notebook.requests[-2:]], ["identity", ""])
            client.close()
            self.over()

    def test_old_client(self) -> None:
        """One that speaks HTTP/1.0 gets it until the connection closes."""
        self.listen()
        client = self.client((ASK % b"").replace(b"HTTP/1.1", b"HTTP/1.0"))
        self.say(self.server, self.coded_by("gzip"))
        self.moment()
        said = self.heard(client)
        self.assertTrue(said.endswith(b"\r\n\r\n" + TEXT))
        self.assertIn(b"Connection: close", said)
        client.close()
        self.over()

    def test_old_client_cut(self) -> None:
        """And if it is not complete, no end that looks like one."""
        self.listen()
        client = self.client((ASK % b"").replace(b"HTTP/1.1", b"HTTP/1.0"))
        self.say(self.server, self.coded_by("gzip")[:-100])
        self.server.close()
        self.network.flush()
        self.assertIs(client.ended, Ended.RESET)
        self.over()

    def test_much_for_little(self) -> None:
        """What becomes very long leaves as the client takes it, and no more of it is held than a step."""
        data = b"".join(b"%d" % number for number in range(600_000))
        self.listen()
        client = self.asks(b"")
        client.stop_reading()
        self.say(self.server, self.coded_by("gzip", data))
        for _ in range(3):
            self.moment()
        self.assertEqual(self.notebook.requests, [])
        client.read_again()
        self.network.flush()
        for _ in range(100):
            self.moment()
        _, body, end = taken_apart(self.heard(client))
        self.assertTrue(body == data)
        self.assertEqual(end, b"")
        client.close()
        self.over()

    def test_bomb(self) -> None:
        """A bomb cuts the connection."""
        self.listen()
        client = self.asks(b"")
        self.say(self.server, self.coded_by("gzip", bytes(20 * FEW)))
        for _ in range(50):
            self.moment()
        self.assertEqual(self.outcomes(), [(200, Reason.ANSWER_MALFORMED)])
        self.assertIn("200 times", self.the_request().detail)
        self.assertIsNot(client.ended, Ended.NOT)
        self.over()

    def test_not_complete(self) -> None:
        """So does what lacks its end, though it is said to be whole; where none has left it is 502."""
        for parts, status in ((1, 502), (2, 200)):
            self.listen()
            client = self.asks(b"")
            body = coded("gzip", TEXT)[:-9]
            head = HTML + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
            said = head + body
            for part in range(parts):
                self.say(self.server, said[len(said) * part // parts : len(said) * (part + 1) // parts])
                self.moment()
            self.assertEqual(self.outcomes()[-1], (status, Reason.ANSWER_MALFORMED))
            self.assertTrue(self.heard(client).startswith(b"HTTP/1.1 %d " % status))
            self.assertEqual(client.ended is Ended.NOT, status == 502)
            self.over()

    def test_server_that_leaves(self) -> None:
        """A server may leave when it has said all, while the client still takes it."""
        data = b"".join(b"%d" % number for number in range(200_000))
        self.listen()
        client = self.asks(b"")
        client.stop_reading()
        server = self.server
        server.send(self.coded_by("gzip", data))
        server.finish()
        self.network.flush()
        client.read_again()
        for _ in range(50):
            self.moment()
        _, body, end = taken_apart(self.heard(client))
        self.assertTrue(body == data)
        self.assertEqual((end, self.outcomes()), (b"", [(200, Reason.ANSWERED)]))
        client.close()
        self.over()
