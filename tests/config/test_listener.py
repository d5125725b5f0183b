"""Is a ``[listener]`` taken for what an operator means by it?"""

from __future__ import annotations

from proxyd.config.address import TcpBind
from proxyd.config.listener import ListenerSpec
from tests.config.ini import LISTENER, POOL, IniCase

BINDS = (TcpBind("tcp:80", "0.0.0.0", 80),)


class ListenerTests(IniCase):
    def test_defaults(self) -> None:
        """A listener needs an address and a pool; all else has a default."""
        self.assertEqual(
            self.load(LISTENER + POOL).listeners, (ListenerSpec("l", BINDS, "p", "tcp", 600, 30, False),)
        )

    def test_all_given(self) -> None:
        """Each option is taken as it is written."""
        options = "protocol = tcp\nidle_timeout = 1h\nhalf_closed_timeout = 1m\nabort_on_close = on\n"
        self.assertEqual(
            self.load(LISTENER + options + POOL).listeners,
            (ListenerSpec("l", BINDS, "p", "tcp", 3600, 60, True),),
        )

    def test_default_of_all_listeners(self) -> None:
        """What [proxyd] says of listeners holds for each that does not say otherwise, wherever it stands."""
        other = "[listener m]\nbind = tcp:81\npool = p\nidle_timeout = 2m\nabort_on_close = no\n"
        text = f"{LISTENER}{other}{POOL}[proxyd]\nidle_timeout = 1m\nabort_on_close = yes\n"
        one, two = self.load(text).listeners
        self.assertEqual((one.idle_timeout, one.abort_on_close), (60, True))
        self.assertEqual((two.idle_timeout, two.abort_on_close), (120, False))

    def test_several_binds(self) -> None:
        """A listener may have several addresses, on one line or on several."""
        listener = self.load(f"[listener l]\nbind = tcp:1 tcp:2\n  tcp6:1\npool = p\n{POOL}").listeners[0]
        self.assertEqual([bind.text for bind in listener.binds], ["tcp:1", "tcp:2", "tcp6:1"])

    def test_line_of_a_wrong_bind(self) -> None:
        """Of several addresses, the wrong one is named with its own line."""
        self.assertEqual(
            self.problems(f"[listener l]\nbind = tcp:1\n  tcp:x\n  tcp:3\npool = p\n{POOL}"),
            ['proxy.ini:3: [listener l] bind: "tcp:x": "x" is not a port; ports are 0 to 65535'],
        )

    def test_missing(self) -> None:
        """What is missing is named with an example, both things at once."""
        self.assertEqual(
            self.problems(f"[listener l]\n{POOL}"),
            [
                "proxy.ini:1: [listener l] bind: is missing; write bind = tcp:5432, for example",
                "proxy.ini:1: [listener l] pool: is missing, and no [route] names this listener; "
                "write pool = postgres, for example",
            ],
        )

    def test_protocol(self) -> None:
        """A protocol that is not known is answered with the nearest that is."""
        self.assertEqual(
            self.problems(f"{LISTENER}protocol = tpc\n{POOL}"),
            ['proxy.ini:4: [listener l] protocol: "tpc" is not known; did you mean "tcp"?'],
        )
