"""Does a client take the first route that fits it?"""

from __future__ import annotations

import random
from typing import Optional, Sequence

from proxyd.config.route import SPEAKS, RouteSpec
from proxyd.policy.route import Routes
from tests.support.case import Case


def route(
    name: str, sni: str = "", alpn: str = "", speaks: str = "", listeners: tuple[str, ...] = ("l",)
) -> RouteSpec:
    """A route with these words as its conditions."""
    offered = tuple(word.encode() for word in alpn.split())
    return RouteSpec(name, listeners, "p", tuple(sni.split()), offered, tuple(speaks.split()))


def walk(specs: Sequence[RouteSpec], speaks: str, sni: str, alpn: Sequence[bytes]) -> Optional[RouteSpec]:
    """The rule as it is documented, by asking every route."""
    for spec in specs:
        needs_tls = bool(spec.sni or spec.alpn)
        if needs_tls and speaks != "tls":
            continue
        if spec.speaks and speaks not in spec.speaks:
            continue
        if spec.alpn and not any(offered in spec.alpn for offered in alpn):
            continue
        if spec.sni and not any(covers(pattern, sni) for pattern in spec.sni):
            continue
        return spec
    return None


def covers(pattern: str, name: str) -> bool:
    """Whether a condition covers a name."""
    if not name or pattern == "*":
        return bool(name)
    labels = pattern.split(".")[1:]
    below = pattern.startswith("*.") and len(name.split(".")) > len(labels)
    return pattern == name or (below and name.split(".")[-len(labels) :] == labels)


class Ended(Case):
    """Where TLS has ended, its name and ALPN are known, and what is within."""

    def test_both(self) -> None:
        """Routes go by the name, by what was agreed on, and by what is spoken within."""
        routes = [
            RouteSpec("named", (), "p", sni=("a.com",)),
            RouteSpec("agreed", (), "p", alpn=(b"h2",)),
            RouteSpec("web", (), "p", speaks=("http",)),
            RouteSpec("any", (), "p", speaks=("tls",)),
        ]
        for speaks, sni, alpn, name in (
            ("http", "a.com", (b"h2",), "named"),
            ("http", "", (b"h2",), "agreed"),
            ("http", "b.com", (), "web"),
            ("other", "b.com", (), "any"),
        ):
            found = Routes(routes).choose(speaks, sni, alpn, ended=True)
            self.assertEqual(found.name if found is not None else "", name)
        self.assertEqual(getattr(Routes(routes).choose("http", "a.com", (b"h2",)), "name", ""), "web")


class Choice(Case):
    def chosen(self, routes: Sequence[RouteSpec], speaks: str, sni: str = "", alpn: str = "") -> str:
        offered = [word.encode() for word in alpn.split()]
        found = Routes(routes).choose(speaks, sni, offered)
        self.assertEqual(found, walk(routes, speaks, sni, offered))
        return found.name if found is not None else ""

    def test_names(self) -> None:
        """Of a name, wildcards, * and no name at all, the first that fits is taken."""
        routes = [
            route("exact", sni="v1.api.example.com"),
            route("long", sni="*.api.example.com"),
            route("short", sni="*.example.com"),
            route("any", sni="*"),
            route("tls", speaks="tls"),
        ]
        for sni, name, first in [
            ("v1.api.example.com", "exact", "any"),
            ("v2.api.example.com", "long", "any"),
            ("a.v1.api.example.com", "long", "any"),
            ("api.example.com", "short", "any"),
            ("www.example.com", "short", "any"),
            ("example.com", "any", "any"),
            ("badexample.com", "any", "any"),
            ("com", "any", "any"),
            ("", "tls", ""),
        ]:
            self.assertEqual(self.chosen(routes, "tls", sni), name, sni)
            self.assertEqual(self.chosen(routes[-2::-1], "tls", sni), first, sni)
        self.assertEqual(self.chosen(routes, "http"), "")

    def test_wildcard(self) -> None:
        """A wildcard covers all labels below its name, and not the name itself, nor part of a label."""
        routes = [route("r", sni="*.a.com")]
        for sni, fits in [
            ("x.a.com", True),
            ("y.x.a.com", True),
            ("a.com", False),
            ("xa.com", False),
            (".a.com", False),
            ("x.a.com.", False),
            ("", False),
        ]:
            self.assertEqual(Routes(routes).choose("tls", sni, ()) is not None, fits, sni)

    def test_case(self) -> None:
        """Names are compared without regard to case (RFC 6066 3)."""
        self.assertEqual(
            Routes([route("r", sni="*.a.com")]).choose("tls", "X.A.Com", ()), route("r", "*.a.com")
        )

    def test_falls_through(self) -> None:
        """Where the name fits and another condition does not, the next route is asked."""
        routes = [
            route("exact", sni="x.a.com", alpn="h2"),
            route("wild", sni="*.a.com", alpn="h2 http/1.1"),
            route("any", sni="*", alpn="imap"),
            route("alpn", alpn="ftp"),
        ]
        for alpn, name in [("h2", "exact"), ("http/1.1", "wild"), ("imap", "any"), ("ftp", "alpn"), ("", "")]:
            self.assertEqual(self.chosen(routes, "tls", "x.a.com", alpn), name)

    def test_order(self) -> None:
        """Of two that fit, the one written first is taken, whatever else it asks for."""
        routes = [route("one", alpn="h2"), route("two", alpn="http/1.1")]
        self.assertEqual(self.chosen(routes, "tls", "", "http/1.1 h2"), "one")
        self.assertEqual(self.chosen(routes[::-1], "tls", "", "http/1.1 h2"), "two")
        routes = [route("plain", sni="a.com"), route("h2", sni="a.com", alpn="h2")]
        self.assertEqual(self.chosen(routes, "tls", "a.com", "h2"), "plain")
        self.assertEqual(self.chosen(routes[::-1], "tls", "a.com", "h2"), "h2")
        # That a name implies TLS makes no difference when it is said as well.
        routes = [route("one", sni="a.com"), route("two", sni="a.com b.com", speaks="tls")]
        self.assertEqual(self.chosen(routes, "tls", "a.com"), "one")

    def test_speaks(self) -> None:
        """Each protocol leads its own way, and TLS's conditions hold for nothing else."""
        routes = [route("ssh", speaks="ssh silent"), route("web", speaks="http tls"), route("h2", alpn="h2")]
        for speaks, name in [
            ("ssh", "ssh"), ("silent", "ssh"), ("http", "web"), ("tls", "web"), ("postgresql", ""),
            ("other", ""),
        ]:  # fmt: skip
            self.assertEqual(self.chosen(routes, speaks), name)
        self.assertEqual(self.chosen(routes, "ssh", "a.com", "h2"), "ssh")

    def test_none(self) -> None:
        """A listener without routes leads nobody by one."""
        self.assertIs(Routes(()).choose("tls", "a.com", (b"h2",)), None)

    def test_like_a_walk(self) -> None:
        """Whatever the routes and whoever the client, the choice is that of asking every route."""
        taken = 0
        for seed in range(400):
            dice = random.Random(seed)
            labels = ["a", "b", "com"][: dice.randint(1, 3)]

            def some(words: Sequence[str], dice: random.Random = dice) -> str:
                return " ".join(dice.sample(words, dice.randint(1, min(3, len(words)))))

            def name(labels: Sequence[str] = labels, dice: random.Random = dice) -> str:
                return ".".join(dice.choice(labels) for _ in range(dice.randint(1, 4)))

            def pattern(dice: random.Random = dice) -> str:
                return dice.choice(["*", f"*.{name()}", f"*.{name()}", name(), name()])

            protocols = ["h2", "http/1.1", "imap"]
            routes = []
            for number in range(dice.randint(0, 12)):
                sni = some([pattern() for _ in range(3)]) if dice.random() < 0.6 else ""
                alpn = some(protocols) if dice.random() < 0.3 else ""
                speaks = some(SPEAKS) if dice.random() < 0.3 else ""
                routes.append(route(str(number), sni, alpn, speaks))
            for _ in range(30):
                speaks = dice.choice((*SPEAKS, "tls", "tls", "tls", "tls"))
                sni, alpn = (dice.choice(["", name()]), dice.choice(["", some(protocols)]))
                taken += bool(self.chosen(routes, speaks, sni, alpn))
        self.assertGreater(taken, 2000)

    def test_names_are_looked_up(self) -> None:
        """A choice asks only routes with the client's name, however many others there are."""
        asked: list[str] = []

        class Counted(str):
            def __hash__(self) -> int:
                asked.append(str(self))
                return super().__hash__()

            def lower(self) -> Counted:
                return self

            def __getitem__(self, key: object) -> Counted:
                return Counted(super().__getitem__(key))  # type: ignore[index]

        routes = Routes(
            [route(str(n), sni=f"h{n}.example.com *.w{n}.example.com") for n in range(5000)]
            + [route("alpn", alpn="h2")]
        )
        self.assertEqual(
            getattr(routes.choose("tls", Counted("x.y.w4999.example.com"), ()), "name", ""), "4999"
        )
        self.assertEqual(asked, ["x.y.w4999.example.com", ".w4999.example.com", ".example.com", ".com"])

    def test_long_names(self) -> None:
        """A name of many labels is compared only where a wildcard could begin."""
        routes = Routes([route("r", sni="*.example.com")])
        self.assertIs(routes.choose("tls", "a." * 100_000 + "com", ()), None)
        self.assertEqual(getattr(routes.choose("tls", "a." * 100_000 + "example.com", ()), "name", ""), "r")
