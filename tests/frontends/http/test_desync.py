"""Do a server and we agree on which answer is whose, and where they come to an end?"""

from __future__ import annotations

from proxyd.errors import Reason
from proxyd.relay.pair import HELD
from tests.frontends.http.front import ANSWERED, GET, OK, HttpCase


class Answers(HttpCase):
    """Servers that answer otherwise than they should."""

    def test_skipped_body(self) -> None:
        """A server that may not have read a body could take it for a request: it gets no other one."""
        for head in (
            b"GET / HTTP/1.1\r\n",
            b"DELETE / HTTP/1.1\r\n",
            b"POST / HTTP/1.1\r\nExpect: 100-continue\r\n",
        ):
            self.listen()
            client = self.client(head + b"Host: a\r\nContent-Length: %d\r\n\r\n" % len(GET) + GET)
            server = self.server
            self.say(server, OK)
            self.assertEqual(self.heard(client), ANSWERED)
            self.assertEqual((server.ended.value, len(self.factory.kept)), ("a reset", 0))
            self.over()

    def test_expected_body(self) -> None:
        """A server that has said 100 has to read the body: its connection is kept, and no other is."""
        self.listen()
        client, head = (
            self.client(),
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        )
        for says, kept in ((b"HTTP/1.1 100 Continue\r\n\r\n", 1), (b"HTTP/1.1 103 Early Hints\r\n\r\n", 0)):
            self.say(client, head)
            self.say(self.server, says)
            self.say(client, b"abc")
            self.say(self.server, OK)
            self.assertEqual(self.heard(client), says + ANSWERED)
            self.assertEqual((len(self.datapath.peers), len(self.factory.kept)), (1, kept))
        self.over()

    def test_many_interim_answers(self) -> None:
        """A server that never comes to its answer must not fill us, or its client."""
        self.listen()
        client = self.client(GET)
        server, hints = self.server, b"HTTP/1.1 103 Early Hints\r\n\r\n"
        for _ in range(HELD // len(hints) + 1):
            self.say(server, hints)
        self.assertEqual(self.heard(client).count(hints), HELD // len(hints))
        self.assertEqual(server.ended.value, "a reset")
        self.assertEqual(self.outcomes(), [(502, Reason.ANSWER_MALFORMED)])
        self.over()
