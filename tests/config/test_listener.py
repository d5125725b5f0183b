"""Is a ``[listener]`` taken for what an operator means by it?"""

from __future__ import annotations

from ipaddress import ip_network

from proxyd.config.address import TcpBind
from proxyd.config.listener import ListenerSpec
from proxyd.config.proxyprotocol import ProxyIn
from proxyd.config.route import RouteSpec
from proxyd.config.tls import TlsSpec
from tests.config.ini import LISTENER, MINIMAL, POOL, IniCase

BINDS = (TcpBind("tcp:80", "0.0.0.0", 80),)


class ListenerTests(IniCase):
    def test_defaults(self) -> None:
        """A listener needs an address and a pool; all else has a default."""
        self.assertEqual(
            self.load(LISTENER + POOL).listeners, (ListenerSpec("l", BINDS, "p", "tcp", 600, 30),)
        )

    def test_all_given(self) -> None:
        """Each option is taken as it is written."""
        options = (
            "protocol = tcp\nidle_timeout = 1h\nhalf_closed_timeout = 1m\nabort_on_close = on\n"
            "datapath = stock\ntls = passthrough\nproxy_protocol = 10.0.0.0/8\nopening_timeout = 500ms\n"
        )
        header = ProxyIn((ip_network("10.0.0.0/8"),))
        self.assertEqual(
            self.load(LISTENER + options + POOL).listeners,
            (ListenerSpec("l", BINDS, "p", "tcp", 3600, 60, True, "stock", "passthrough", header, 0.5),),
        )

    def test_reads_opening(self) -> None:
        """The first bytes are read only where something depends on them."""
        self.assertFalse(ListenerSpec("l", BINDS, "p", opening_timeout=1).reads_opening)
        for spec in (
            ListenerSpec("l", BINDS, "p", tls="passthrough"),
            ListenerSpec("l", BINDS, "p", proxy_protocol=ProxyIn()),
            ListenerSpec("l", BINDS, "p", routes=(RouteSpec("r", ("l",), "p", speaks=("ssh",)),)),
        ):
            self.assertTrue(spec.reads_opening)

    def test_pools(self) -> None:
        """Where clients may be led: what the routes say, in their order, then the rest; each pool once."""
        routes = tuple(
            RouteSpec(name, ("l",), pool, speaks=("ssh",))
            for name, pool in (("r", "b"), ("s", "a"), ("t", "b"))
        )
        for pool, given, pools in (
            ("p", (), ("p",)),
            ("", routes, ("b", "a")),
            ("p", routes, ("b", "a", "p")),
            ("a", routes, ("b", "a")),
        ):
            self.assertEqual(ListenerSpec("l", BINDS, pool, routes=given).pools, pools)

    def test_default_of_all_listeners(self) -> None:
        """What [proxyd] says of listeners holds for each that does not say otherwise, wherever it stands."""
        other = "[listener m]\nbind = tcp:81\npool = p\nidle_timeout = 2m\nabort_on_close = no\n"
        text = f"{LISTENER}{other}{POOL}[proxyd]\nidle_timeout = 1m\nabort_on_close = yes\n"
        text += "opening_timeout = 1s\n"
        one, two = self.load(text).listeners
        self.assertEqual((one.idle_timeout, one.abort_on_close), (60, True))
        self.assertEqual((two.idle_timeout, two.abort_on_close), (120, False))
        self.assertEqual((one.opening_timeout, two.opening_timeout), (1, 1))
        for option in ("tls = passthrough", "proxy_protocol = unix", "pool = p"):
            self.assertIn("is not known", self.problems(f"{MINIMAL}[proxyd]\n{option}\n")[0])

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

    def test_tls(self) -> None:
        """TLS can be passed through; where a bind ends it, there is none to pass."""
        self.assertEqual(
            self.problems(f"{LISTENER}tls = terminate\n{POOL}"),
            [
                'proxy.ini:4: [listener l] tls: "terminate" is neither passthrough nor the path of '
                "certificates; write tls = /etc/proxyd/certs, or ./terminate for what is beside this file"
            ],
        )
        for bind in ("ssl:443", "tls:443:certificates=/etc/certs"):
            self.assertEqual(
                self.problems(f"[listener l]\nbind = tcp:80 {bind}\npool = p\ntls = passthrough\n{POOL}"),
                [
                    f'proxy.ini:4: [listener l] tls: "{bind}" ends TLS itself; '
                    "bind to a tcp: address to pass it through"
                ],
            )

    def test_certificates(self) -> None:
        """With certificates TLS ends at all addresses, but at those that say something else themselves."""
        text = f"[listener l]\nbind = tcp:80 unix:/a fd:3\npool = p\ntls = ./c alpn=h2\n{POOL}"
        spec = self.load(text).listeners[0]
        tls = TlsSpec((self.folder + "/c",), alpn=(b"h2",))
        self.assertEqual([spec.tls_at(bind) for bind in spec.binds], [tls] * 3)
        self.assertEqual((spec.tls, spec.ends_tls, spec.reads_opening), (tls, True, False))
        for bind, why in (
            ("ssl:443", '"ssl:443" ends TLS as it says itself; bind to a tcp: address'),
            ("onion:80", '"onion:80" is Twisted\'s, and cannot be made to end TLS'),
        ):
            self.assertEqual(
                self.problems(f"[listener l]\nbind = tcp:80 {bind}\npool = p\ntls = ./c\n{POOL}"),
                [f"proxy.ini:4: [listener l] tls: {why}"],
            )
        own = self.load(f"[listener l]\nbind = tcp:80 tls:443:certificates=./c\npool = p\n{POOL}").listeners[
            0
        ]
        self.assertEqual([bool(own.tls_at(bind)) for bind in own.binds], [False, True])
        self.assertTrue(own.ends_tls)

    def test_header_before_tls(self) -> None:
        """A PROXY header is read before the TLS of a listener, unless it comes within."""
        text = f"[listener l]\nbind = tcp:80\npool = p\ntls = ./c\nproxy_protocol = %s10.0.0.0/8\n{POOL}"
        for option, before in (("", True), ("optional ", True), ("inside_tls ", False)):
            self.assertEqual(self.load(text % option).listeners[0].header_before_tls, before)

    def test_header_and_tls(self) -> None:
        """A PROXY header is read before TLS where we bind, inside TLS where an address ends it."""
        for bind, option in [
            ("tcp:80 fd:3 systemd:index=0", ""),
            ("ssl:443 tls:444:certificates=/etc/certs", "inside_tls "),
            ("onion:80", ""),  # only Twisted knows what that is
            ("onion:80", "inside_tls "),
        ]:
            text = f"[listener l]\nbind = {bind}\npool = p\nproxy_protocol = {option}10.0.0.0/8\n{POOL}"
            header = self.load(text).listeners[0].proxy_protocol
            self.assertEqual(header, ProxyIn((ip_network("10.0.0.0/8"),), inside_tls=bool(option)))

    def test_a_header_from_nobody(self) -> None:
        """Senders of whom none could come to an address are refused, with what is missing."""
        place = "proxy.ini:4: [listener l] proxy_protocol: lists nobody who could come to"
        for bind, senders, missing in (
            ("unix:/a", "10.0.0.0/8", "unix"),
            ("unix:/a", "10.0.0.0/8 unix", ""),
            ("unix:/a", "optional 10.0.0.0/8", ""),
            ("tcp:80", "unix", "networks"),
            ("tcp:80", "unix ::1", ""),
            ("tcp:80", "optional unix", ""),
        ):
            text = f"[listener l]\nbind = {bind}\npool = p\nproxy_protocol = {senders}\n{POOL}"
            expected = [f'{place} "{bind}"; add {missing}'] if missing else []
            self.assertEqual(self.problems(text) if missing else [], expected)
            if not missing:
                self.assertIsNotNone(self.load(text).listeners[0].proxy_protocol)

    def test_header_on_the_wrong_side(self) -> None:
        """A header that could not be read where it stands is refused, with what can be done."""
        place = "proxy.ini:4: [listener l] proxy_protocol:"
        self.assertEqual(
            self.problems(f"[listener l]\nbind = ssl:443\npool = p\nproxy_protocol = ::1\n{POOL}"),
            [
                f'{place} "ssl:443" reads no header before TLS; bind to a tcp: address, and give tls = its '
                "certificates; or, if the header comes inside, add inside_tls"
            ],
        )
        self.assertEqual(
            self.problems(f"{LISTENER}proxy_protocol = inside_tls 10.0.0.0/8\n{POOL}"),
            [f'{place} inside_tls: "tcp:80" does not end TLS, so there is no inside'],
        )
