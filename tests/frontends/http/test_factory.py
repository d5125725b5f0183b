"""Does a listener of HTTP make what it should of who connects?"""

from __future__ import annotations

from proxyd.frontends.http.session import HttpSession
from tests.frontends.http.front import GET, OK, HttpCase
from tests.relay.test_session import Broken


class Factories(HttpCase):
    """One listener."""

    def test_sessions(self) -> None:
        """Who connects has a session, until it has gone."""
        self.listen()
        client = self.client()
        (session,) = self.factory.sessions
        self.assertIsInstance(session, HttpSession)
        client.close()
        self.network.flush()
        self.assertEqual(self.factory.sessions, set())
        self.over()

    def test_broken_observer(self) -> None:
        """An observer that fails keeps the others from nothing."""
        self.listen()
        self.factory.observers = (Broken(), *self.factory.observers)
        self.client(GET)
        self.say(self.server, OK)
        self.assertEqual(len(self.notebook.requests), 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.factory.observers = (self.notebook,)
        self.over()

    def test_stopped(self) -> None:
        """Nothing is kept by a listener that has closed."""
        self.listen()
        client = self.client(GET)
        self.factory.stopFactory()
        self.say(self.server, OK)
        self.assertEqual((len(self.factory.kept), client.ended.value), (0, "an end"))
        self.over()

    def test_look(self) -> None:
        """Busy sessions are looked at no later than the shortest of their limits."""
        self.listen(pool={"response_timeout": 7.0})
        self.assertEqual(self.factory.look, 7.0)
