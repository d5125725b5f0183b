"""Is what is asked of TCP taken as an operator means it?"""

from __future__ import annotations

from typing import Any

from proxyd.config.options import Option
from proxyd.config.reader import Word
from proxyd.config.tcp import (
    KEEPALIVE,
    LISTENER_OPTIONS,
    SERVER_OPTIONS,
    SERVER_PARAMETERS,
    UNTOUCHED,
    Buffer,
    Keepalive,
    TcpSpec,
)
from tests.config.ini import LISTENER, MINIMAL, POOL, IniCase
from tests.support.case import Case

FORMS = {option.name: option.form for option in (*SERVER_OPTIONS, *LISTENER_OPTIONS)}


def parsed(name: str, text: str) -> tuple[Any, list[str]]:
    """What a value of an option is taken for, and what is wrong with it."""
    wrong: list[str] = []
    value = FORMS[name].parse([Word(text, "proxy.ini", 1)], lambda line, why: wrong.append(why))
    return value, wrong


class ValueTests(Case):
    """How each value is written."""

    def test_right(self) -> None:
        """Sizes, times, code points and names, each at both of its bounds."""
        for name, text, value in (
            ("receive_buffer", "1024", Buffer(1024)),
            ("receive_buffer", "64k", Buffer(65536)),
            ("receive_buffer", "64K", Buffer(65536)),
            ("receive_buffer", "1024M", Buffer(1 << 30)),
            ("send_buffer", "1mss", Buffer(1, segments=True)),
            ("send_buffer", "10000mss", Buffer(10000, segments=True)),
            ("mss", "88", 88),
            ("mss", "32767", 32767),
            ("user_timeout", "1ms", 0.001),
            ("user_timeout", "24d", 24 * 86400.0),
            ("keepalive", "no", None),
            ("keepalive", "yes", KEEPALIVE),
            ("keepalive", "30s:5s:3", Keepalive(30, 5, 3)),
            ("keepalive", "30s", Keepalive(30, 15, 4)),
            ("keepalive", "::127", Keepalive(60, 15, 127)),
            ("keepalive", ":1m", Keepalive(60, 60, 4)),
            ("congestion_control", "bbr", "bbr"),
            ("dscp", "ef", 46),
            ("dscp", "af21", 18),
            ("dscp", "cs0", 0),
            ("dscp", "63", 63),
            ("defer_accept", "1h", 3600),
            ("interface", "eth0.100", "eth0.100"),
            ("source", "10.0.0.5", "10.0.0.5"),
            ("source", "fd00:0:0::1", "fd00::1"),
            ("source", "client", "client"),
        ):
            self.assertEqual(parsed(name, text), (value, []), (name, text))

    def test_wrong(self) -> None:
        """What cannot be meant, or what the kernel could not take, is told apart."""
        for name, text, why in (
            ("receive_buffer", "1023", '"1023" is out of bounds; it can be 1k to 1024M'),
            ("receive_buffer", "1025M", '"1025M" is out of bounds; it can be 1k to 1024M'),
            ("receive_buffer", "0mss", '"0mss": it can be 1mss to 10000mss'),
            ("receive_buffer", "4 mss", '"4 mss" is not a size; write 65536, 64k, 1M or 4mss, for example'),
            ("receive_buffer", "64kb", '"64kb" is not a size; write 65536, 64k, 1M or 4mss, for example'),
            ("mss", "87", '"87" is not a whole number, 88 to 32767'),
            ("user_timeout", "25d", '"25d" is too long; the longest is 24d'),
            ("keepalive", "500ms", 'idle: "500ms" is not whole seconds, and the kernel counts no others'),
            ("keepalive", "60s:10h", 'interval: "10h" is too long; the longest is 32767s'),
            ("keepalive", "60s:5s:0", 'probes: "0" is not a whole number, 1 to 127'),
            ("keepalive", "1s:1s:1:1", '"1s:1s:1:1" has more than three parts; write 30s:5s:3, for example'),
            (
                "congestion_control",
                "b/r",
                '"b/r" is not the name of a congestion control; it has at most 15 letters',
            ),
            ("dscp", "64", '"64" is not a code point; write cs1 to cs7, af11 to af43, ef or 0 to 63'),
            ("dscp", "af44", '"af44" is not a code point; write cs1 to cs7, af11 to af43, ef or 0 to 63'),
            ("defer_accept", "2h", '"2h" is too long; the longest is 3600s'),
            (
                "interface",
                "a" * 16,
                f'"{"a" * 16}" is not the name of a network interface; it has at most 15 letters',
            ),
            ("source", "clients", '"clients" is not an IP address'),
        ):
            self.assertEqual(parsed(name, text)[1], [why], (name, text))

    def test_examples(self) -> None:
        """The example of each parameter of a server is what it says."""
        for option in SERVER_PARAMETERS:
            name, equals, text = option.example.partition("=")
            self.assertEqual((name, equals), (option.name, "="))
            wrong: list[str] = []
            option.form.parse([Word(text, "proxy.ini", 1)], lambda line, why: wrong.append(why))  # noqa: B023
            self.assertEqual(wrong, [], option.name)

    def test_every_option_has_a_field(self) -> None:
        """No option is read and then forgotten."""
        tables: list[tuple[Option, ...]] = [LISTENER_OPTIONS, SERVER_OPTIONS]
        for option in (option for table in tables for option in table):
            self.assertTrue(hasattr(UNTOUCHED, option.name), option.name)

    def test_for_checks(self) -> None:
        """Checks go the same way, but for nobody else, and never without asking the server."""
        spec = TcpSpec(mss=1000, source="client", fastopen=1, interface="eth1")
        self.assertEqual(spec.for_checks, TcpSpec(mss=1000, interface="eth1"))
        self.assertEqual(TcpSpec(source="10.0.0.9").for_checks, TcpSpec(source="10.0.0.9"))

    def test_segments(self) -> None:
        """A multiple of the segment is one of `mss`, or of Ethernet's segment."""
        four = Buffer(4, segments=True)
        for spec, version, size in (
            (TcpSpec(), 4, 5840),
            (TcpSpec(), 6, 5760),
            (TcpSpec(mss=1000), 4, 4000),
            (TcpSpec(mss=1000), 6, 4000),
        ):
            self.assertEqual(four.size(spec.segment(version)), size)
        self.assertEqual(Buffer(7).size(1460), 7)
        self.assertEqual([str(four), str(Buffer(7))], ["4mss", "7"])


class SectionTests(IniCase):
    """Where they stand."""

    def test_nothing_asked(self) -> None:
        """A listener has keepalive alone, and of a server TCP is asked nothing."""
        config = self.load(MINIMAL)
        self.assertEqual(config.listeners[0].tcp, TcpSpec(keepalive=Keepalive(60, 15, 4)))
        self.assertIs(config.pools[0].servers[0].tcp, None)

    def test_listener(self) -> None:
        """A listener's values are its own, or those of all listeners in [proxyd]."""
        other = "[listener m]\nbind = tcp:81\npool = p\nmss = 1200\n"
        text = (
            f"[proxyd]\nmss = 1400\nkeepalive = no\nreceive_buffer = 4mss\n{LISTENER}dscp = ef\n{other}{POOL}"
        )
        one, two = self.load(text).listeners
        four = Buffer(4, segments=True)
        self.assertEqual(one.tcp, TcpSpec(mss=1400, keepalive=None, receive_buffer=four, dscp=46))
        self.assertEqual(two.tcp, TcpSpec(mss=1200, keepalive=None, receive_buffer=four))

    def test_server(self) -> None:
        """A server's values are those of its pool, unless it has its own."""
        text = f"{LISTENER}[pool p]\nmss = 1400\nfastopen = yes\n"
        text += "server a = 10.0.0.1:80\nserver b = 10.0.0.2:80 mss=1200 source=10.0.0.9 fastopen=no\n"
        a, b = self.load(text).pools[0].servers
        self.assertEqual(a.tcp, TcpSpec(mss=1400, fastopen=1))
        self.assertEqual(b.tcp, TcpSpec(mss=1200, source="10.0.0.9"))

    def test_unix(self) -> None:
        """To ask TCP things for a unix socket alone is a mistake; as the default of several it is not."""
        text = "[proxyd]\nmss = 1000\n[listener l]\nbind = unix:/run/l\npool = p\nnotsent_lowat = 16k\n"
        text += "[pool p]\nmss = 1000\nserver a = unix:/run/a mss=1000\nserver b = unix:/run/b\n"
        self.assertEqual(
            self.problems(text),
            [
                "proxy.ini:6: [listener l] notsent_lowat: means nothing on a unix socket",
                "proxy.ini:9: [pool p] server a: mss means nothing on a unix socket",
            ],
        )

    def test_source_of_another_version(self) -> None:
        """An IPv6 server cannot be reached from an IPv4 address; what a name leads to is not known yet."""
        text = (
            f"{LISTENER}[pool p]\nsource = 10.0.0.5\nserver a = [fd00::1]:80\nserver b = db.example.com:80\n"
        )
        text += "server c = [fd00::1]:80 source=fd00::5\nserver d = 10.0.0.1:80 source=fd00::5\n"
        text += "server e = [fd00::1]:80 source=client\n"
        self.assertEqual(
            self.problems(text),
            [
                "proxy.ini:6: [pool p] server a: cannot be reached from source 10.0.0.5, "
                "which is of another version of IP",
                "proxy.ini:9: [pool p] server d: cannot be reached from source fd00::5, "
                "which is of another version of IP",
            ],
        )
