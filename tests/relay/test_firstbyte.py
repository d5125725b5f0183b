"""How long did a server take to its first byte, by a clock that the test moves?"""

from __future__ import annotations

from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IPushProducer
from twisted.internet.task import Clock

from proxyd.config.adaptive import AdaptiveSpec
from proxyd.policy.adaptive import Adaptive
from proxyd.relay.firstbyte import FirstByte, TimedClient, TimedServer, TimedTLSServer
from tests.support.case import Case


class FirstByteTests(Case):
    """`FirstByte`; the sides that it watches are in test_session_balance.py."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[float] = []

    def watch(self, asked: bool = False) -> FirstByte:
        return FirstByte(self.clock.seconds, asked, self.told.append)

    def test_asked_later(self) -> None:
        """What a client waits before it asks is not the server's fault."""
        watch = self.watch()
        self.clock.advance(60)
        watch.asked()
        self.clock.advance(0.25)
        watch.asked()
        self.clock.advance(0.25)
        watch.answered()
        self.assertEqual(self.told, [0.5])

    def test_asked_before(self) -> None:
        """A client that spoke before the server was reached has asked when it was reached."""
        watch = self.watch(asked=True)
        self.clock.advance(0.5)
        watch.asked()
        watch.answered()
        self.assertEqual(self.told, [0.5])

    def test_server_speaks_first(self) -> None:
        """A server that speaks first is timed from its connection."""
        watch = self.watch()
        self.clock.advance(0.125)
        watch.answered()
        self.assertEqual(self.told, [0.125])

    def test_once(self) -> None:
        """It is told once, whatever comes after."""
        watch = self.watch()
        watch.answered()
        watch.asked()
        watch.answered()
        watch.ended()
        self.assertEqual(self.told, [0.0])

    def test_pending(self) -> None:
        """Who was asked and has not answered is pending, however it ends, and nobody else."""
        adaptive = Adaptive(AdaptiveSpec())

        def watch(asked: bool) -> FirstByte:
            return FirstByte(self.clock.seconds, asked, self.told.append, adaptive)

        asked, silent, greeting = watch(True), watch(False), watch(False)
        self.assertEqual(adaptive.pending, 1)
        silent.asked()
        greeting.answered()
        greeting.asked()
        self.assertEqual(adaptive.pending, 2)
        asked.answered()
        silent.ended()
        watch(False).ended()
        greeting.ended()
        self.assertEqual((adaptive.pending, self.told), (0, [0.0] * 3))

    def test_no_answer(self) -> None:
        """A server that was asked and never answered has taken as long as it was waited for."""
        watch = self.watch(asked=True)
        self.clock.advance(30)
        watch.ended()
        watch.ended()
        self.assertEqual(self.told, [30])

    def test_never_asked(self) -> None:
        """Of a connection on which nobody spoke nothing is learnt."""
        watch = self.watch()
        self.clock.advance(30)
        watch.ended()
        watch.answered()
        self.assertEqual(self.told, [])


class SidesTests(Case):
    """What the sides that can be watched are to Twisted."""

    def test_as_the_others(self) -> None:
        """They can half-close and be paused as the plain ones, and one hears of handshakes."""
        for side in (TimedServer, TimedTLSServer, TimedClient):
            for interface in (IHalfCloseableProtocol, IPushProducer):
                self.assertTrue(interface.implementedBy(side), side)
            self.assertEqual(IHandshakeListener.implementedBy(side), side in (TimedTLSServer, TimedClient))
