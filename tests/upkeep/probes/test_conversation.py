"""Is a conversation with a server bounded, and does it always end?"""

from __future__ import annotations

from typing import Optional

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost

from proxyd.upkeep.probes.conversation import MOST_HELD, Call, shown
from tests.upkeep.probes.stage import ProbeCase


def line(data: bytes) -> Optional[tuple[bytes, int]]:
    end = data.find(b"\n")
    return None if end < 0 else (data[:end], end + 1)


async def two_lines(call: Call, ask: None) -> str:
    """Hear two lines, and say goodbye."""
    async with call.connect() as talk:
        talk.farewell = b"bye"
        first = await talk.hear(line, "greeting")
        second = await talk.hear(line, "second line")
        return f"{first!r} {second!r}"


class ConversationTests(ProbeCase):
    probe = two_lines

    def test_messages(self) -> None:
        """Messages are heard one after the other, however they are cut on their way."""
        self.begin(None)
        self.transport.protocol.dataReceived(b"one\ntwo")
        self.assertNoResult(self.outcome)
        self.transport.protocol.dataReceived(b"\nthree")
        self.assertEqual(self.assertPassed(b"bye"), "b'one' b'two'")

    def test_closed(self) -> None:
        """A server that closes before it has said what it owes fails, and nobody speaks to it any more."""
        for reason, how in ((None, "closed"), (ConnectionLost(), "broke")):
            self.begin(None)
            self.answer(b"one\ntw")
            self.close(reason)
            self.assertFailed(f"{how} the connection with no second line", farewell=b"bye")

    def test_last_words_count(self) -> None:
        """What a server has said before it closed is heard."""
        self.begin(None)
        self.transport.protocol.dataReceived(b"one\ntwo\n")
        self.assertEqual(self.assertPassed(b"bye"), "b'one' b'two'")

    def test_too_much(self) -> None:
        """A server that talks and talks is stopped, then given up."""
        self.begin(None)
        self.transport.protocol.dataReceived(b"x" * (MOST_HELD - 1))
        self.assertEqual(self.transport.producerState, "producing")
        self.transport.protocol.dataReceived(b"x")
        self.assertFailed("sent more than 64 KiB in place of its greeting", farewell=b"bye")

    def test_cancelled(self) -> None:
        """Whoever gives up knows what was awaited; the farewell is said, and the error is theirs."""
        self.begin(None)
        self.answer(b"one\n")
        self.outcome.cancel()
        self.reactor.advance(0)
        self.failureResultOf(self.outcome, CancelledError)
        self.assertEqual(self.call.awaited, "second line")
        self.assertEqual(self.said(), b"bye")

    def test_slow_to_close(self) -> None:
        """A connection that does not close within a second is aborted; so it is when one gives up again."""
        for hasten in (lambda: self.reactor.advance(1.1), lambda: self.outcome.cancel()):
            self.begin(None)
            self.transport.closes = False
            self.outcome.cancel()
            self.assertNoResult(self.outcome)
            self.assertFalse(self.transport.aborted)
            hasten()
            self.assertTrue(self.transport.aborted)
            self.reactor.advance(0)
            self.failureResultOf(self.outcome, CancelledError)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_shown(self) -> None:
        """What a server says cannot break a line of the log."""
        self.assertEqual(shown(b"two\nlines"), "two\\nlines")
        self.assertEqual(shown(b"\xff"), "\\xff")
        self.assertEqual(len(shown(b"x" * 1000)), 123)


async def busy(call: Call, ask: Deferred[None]) -> str:
    """Do something else, then hear a line."""
    async with call.connect() as talk:
        await ask
        return repr(await talk.hear(line, "greeting"))


class BusyTests(ProbeCase):
    probe = busy

    def test_too_much(self) -> None:
        """What nobody has asked for yet waits in the kernel, and is taken when it is asked for."""
        other: Deferred[None] = Deferred()
        self.begin(other)
        self.transport.protocol.dataReceived(b"one\n" + b"x" * MOST_HELD)
        self.assertEqual(self.transport.producerState, "paused")
        other.callback(None)
        self.assertEqual(self.assertPassed(), "b'one'")
