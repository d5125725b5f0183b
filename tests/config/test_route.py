"""Is a ``[route]`` taken for what an operator means by it, and does it fit its listeners?"""

from __future__ import annotations

from proxyd.config.route import RouteSpec
from tests.config.ini import LISTENER, MINIMAL, POOL, IniCase

ROUTE = "[route r]\nlistener = l\npool = p\n"


class RouteTests(IniCase):
    def route(self, options: str) -> RouteSpec:
        (found,) = self.load(f"{MINIMAL}{ROUTE}{options}\n").listeners[0].routes
        return found

    def refused(self, options: str, more: str = "") -> list[str]:
        return self.problems(f"{MINIMAL}{ROUTE}{options}\n{more}")

    def test_all_given(self) -> None:
        """Each condition is taken as it is written, names in lower case."""
        self.assertEqual(
            self.route(
                "sni = API.example.com. *.api.Example.com\n  * xn--bcher-kva.example _x.a\nspeaks = tls"
            ),
            RouteSpec(
                "r",
                ("l",),
                "p",
                ("api.example.com", "*.api.example.com", "*", "xn--bcher-kva.example", "_x.a"),
                (),
                ("tls",),
            ),
        )
        self.assertEqual(self.route("alpn = h2 http/1.1 é").alpn, (b"h2", b"http/1.1", b"\xc3\xa9"))
        self.assertEqual(self.route("speaks = http silent").speaks, ("http", "silent"))

    def test_sni_refused(self) -> None:
        """What no client asks for is refused with what would be right."""
        star = "a * stands alone, or once and before the first dot"
        for value, reason in [
            (
                "bücher.example",
                '"bücher.example" has letters that no name has on the wire; '
                "write it as its xn-- form, as in xn--bcher-kva.example",
            ),
            ("*.*.com", f'"*.*.com": {star}'),
            ("*api.com", f'"*api.com": {star}'),
            ("api.*", f'"api.*": {star}'),
            ("**", f'"**": {star}'),
            ("*.", f'"*.": {star}'),
            (".example.com", '".example.com" is not the name of a host'),
            ("a..b", '"a..b" is not the name of a host'),
            ("https://a.com", '"https://a.com" is not the name of a host'),
            ("a.com:443", '"a.com:443" is not the name of a host'),
            ('""', '"" is not the name of a host'),
            ("192.0.2.1", '"192.0.2.1" is an address, and clients give names alone (RFC 6066 3)'),
            ("2001:db8::1", '"2001:db8::1" is an address, and clients give names alone (RFC 6066 3)'),
            ("a.com A.com", '"A.com" is given twice'),
        ]:
            self.assertEqual(self.refused(f"sni = {value}"), [f"proxy.ini:9: [route r] sni: {reason}"])
        name = ".".join(["a" * 63] * 4)
        self.assertEqual(len(self.refused(f"sni = {name}")), 1)
        self.assertEqual(len(self.refused(f"sni = b.com\n  {'a' * 64}.com")), 1)

    def test_alpn_refused(self) -> None:
        """A protocol's name has at least one byte, and at most as many as TLS has room for."""
        reason = "is not a protocol; its name has 1 to 255 bytes"
        self.assertEqual(self.refused('alpn = h2 ""'), [f'proxy.ini:9: [route r] alpn: "" {reason}'])
        self.assertEqual(len(self.refused(f"alpn = {'é' * 128}")), 1)
        self.assertEqual(len(self.route(f"alpn = {'a' * 255}").alpn[0]), 255)

    def test_speaks_refused(self) -> None:
        """A protocol that cannot be told is answered with the nearest that can, or with all."""
        self.assertEqual(
            self.refused("speaks = htpp"),
            ['proxy.ini:9: [route r] speaks: "htpp" is not known; did you mean "http"?'],
        )

    def test_tls_alone(self) -> None:
        """Names and ALPN are TLS's, so no other protocol can be asked for beside them."""
        place = "proxy.ini:10: [route r] speaks:"
        self.assertEqual(
            self.refused("sni = a.com\nspeaks = tls http"),
            [f'{place} "http" never comes with sni, which only TLS clients send'],
        )
        self.assertEqual(
            self.refused("alpn = h2\nspeaks = silent"),
            [f'{place} "silent" never comes with alpn, which only TLS clients send'],
        )

    def test_no_condition(self) -> None:
        """A route that asks for nothing is refused: that is what the listener's pool is for."""
        self.assertEqual(
            self.refused(""),
            [
                "proxy.ini:6: [route r] has no condition, so every client would fit; "
                "write sni, alpn or speaks, or make its pool that of the listener"
            ],
        )

    def test_missing(self) -> None:
        """A route needs listeners and a pool."""
        self.assertEqual(
            self.problems(f"{MINIMAL}[route r]\nspeaks = ssh\n"),
            [
                "proxy.ini:6: [route r] listener: is missing; write listener = web, for example",
                "proxy.ini:6: [route r] pool: is missing; write pool = api, for example",
            ],
        )

    def test_references(self) -> None:
        """A listener or a pool that is not there is named with the nearest that is, on its own line."""
        text = f"{MINIMAL}[listener web]\nbind = tcp:81\npool = p\n[pool api]\nserver a = h:1\n"
        self.assertEqual(
            self.problems(f"{text}[route r]\nlistener = l\n  wbe\npool = apj\nspeaks = ssh\n"),
            [
                'proxy.ini:13: [route r] listener: "wbe" is not known; did you mean "web"?',
                'proxy.ini:14: [route r] pool: "apj" is not known; did you mean "api"?',
            ],
        )
        self.assertEqual(
            self.problems(f"{MINIMAL}[route r]\nlistener = l l\npool = p\nspeaks = ssh\n"),
            ['proxy.ini:7: [route r] listener: "l" is given twice'],
        )


class ListenersOfRoutesTests(IniCase):
    def test_several_listeners(self) -> None:
        """A route counts for each of its listeners, and each has its routes in the order of the files."""
        self.write("[route d]\nlistener = m l\npool = p\nspeaks = http\n", "more.ini")
        other = "[route c]\nlistener = m\npool = p\nspeaks = tls\n"
        text = f"{ROUTE}speaks = ssh\n{MINIMAL}[listener m]\nbind = tcp:81\ninclude = more.ini\n{other}"
        one, two = self.load(text).listeners
        self.assertEqual([route.name for route in one.routes], ["r", "d"])
        self.assertEqual([route.name for route in two.routes], ["d", "c"])
        self.assertEqual(one.routes[1], two.routes[0])

    def test_listener_without_a_pool(self) -> None:
        """With a route a listener needs no pool; without one it does, whatever other listeners have."""
        bare = "[listener l]\nbind = tcp:80\n"
        self.assertEqual(self.load(f"{bare}{POOL}{ROUTE}speaks = ssh\n").listeners[0].pool, "")
        self.assertEqual(
            self.problems(f"{bare}[listener m]\nbind = tcp:81\n{POOL}{ROUTE}speaks = ssh\n"),
            [
                "proxy.ini:3: [listener m] pool: is missing, and no [route] names this listener; "
                "write pool = postgres, for example"
            ],
        )

    def test_no_false_alarm(self) -> None:
        """Where a route's listeners are wrong or cannot be read, no listener is said to lack one."""
        bare = f"[listener l]\nbind = tcp:80\n{POOL}"
        for route in (
            "[route r]\nlistener = k\npool = p\nspeaks = ssh\n",
            "[route r]\nlistener = a/b\npool = p\nspeaks = ssh\n",
            "[route r]\npool = p\nspeaks = ssh\n",
            "[route r\nlistener = l\npool = p\nspeaks = ssh\n",
        ):
            self.assertEqual(len(self.problems(bare + route)), 1, route)
        # What is wrong in one place is not said of another: a pool that was given, conditions that were.
        self.assertEqual(len(self.problems(f"{bare}{ROUTE}sni = *a\n")), 1)
        self.assertEqual(len(self.problems(f"[listener l]\nbind = tcp:80\npool = a/b\n{POOL}")), 1)

    def test_never_taken(self) -> None:
        """A route is refused if one before it fits all that it fits, with the place of that one."""
        for one, other in [
            ("sni = a.com *.b.com", "sni = *.b.com A.com"),
            ("sni = a.com\nspeaks = tls", "sni = a.com"),
            ("alpn = h2 http/1.1", "alpn = http/1.1 h2"),
            ("speaks = ssh", "speaks =\n  ssh"),
            ("sni = *", "sni = a.com *.b.com"),
            ("sni = *.com", "sni = a.com b.a.com *.a.com *.com"),
            ("sni = a.com", "sni = a.com\nalpn = h2"),
            ("alpn = h2 http/1.1", "alpn = h2\nsni = a.com"),
            ("speaks = ssh tls", "sni = a.com"),
        ]:
            text = f"{MINIMAL}[route a]\nlistener = l m\npool = p\n{one}\n[listener m]\nbind = tcp:81\n"
            line = text.count("\n") + 1
            self.assertEqual(
                self.problems(f"{text}[route b]\nlistener = m\npool = p\n{other}\n"),
                [
                    f"proxy.ini:{line}: [route b] is never taken: "
                    "[route a] in proxy.ini:6 stands before it, and fits all that it fits"
                ],
            )

    def test_taken_sometimes(self) -> None:
        """Routes of different listeners, or of which the first asks for more, stand beside each other."""
        config = self.load(
            f"{MINIMAL}[listener m]\nbind = tcp:81\n"
            "[route b]\nlistener = l\npool = p\nsni = a.com\nalpn = h2\n"
            f"{ROUTE}sni = a.com\n"
            "[route a]\nlistener = m\npool = p\nsni = a.com\n"
            "[route c]\nlistener = l\npool = p\nsni = *.a.com\n"
            "[route d]\nlistener = l\npool = p\nsni = *\nspeaks = tls\n"
            "[route e]\nlistener = l\npool = p\nspeaks = tls ssh\n"
        )
        self.assertEqual([len(listener.routes) for listener in config.listeners], [5, 1])

    def test_passthrough(self) -> None:
        """Where only TLS is let in, a route for anything else would never be taken."""
        text = f"{LISTENER}tls = passthrough\n{POOL}{ROUTE}"
        self.assertEqual(len(self.load(f"{text}speaks = tls\n").listeners[0].routes), 1)
        self.assertEqual(
            self.problems(f"{text}speaks = tls ssh\n"),
            ['proxy.ini:10: [route r] speaks: [listener l] lets in only TLS, so "ssh" is never met there'],
        )

    def test_tls_that_is_ended(self) -> None:
        """Where TLS ends the name and what is within can be gone by, and ALPN if it is offered."""
        text = f"[listener l]\nbind = %s\npool = p\n{POOL}{ROUTE}%s\n"
        for bind, condition in (
            ("ssl:443", "speaks = http"),
            ("ssl:443", "sni = a.com"),
            ("tls:443:certificates=/c:alpn=h2", "alpn = h2"),
            ("ssl:443 tcp:80", "alpn = h2"),
        ):
            self.assertEqual(len(self.load(text % (bind, condition)).listeners[0].routes), 1)
        self.assertEqual(
            self.problems(text % ("tls:443:certificates=/c:alpn=h2", "alpn = h2 http/1.1")),
            [
                'proxy.ini:9: [route r] alpn: [listener l] ends TLS, and its alpn= does not have "http/1.1", '
                "so nobody comes with it"
            ],
        )
