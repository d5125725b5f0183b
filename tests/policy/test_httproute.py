"""Does a request take the first route that fits it?"""

from __future__ import annotations

import ipaddress
import random
from fnmatch import fnmatchcase
from typing import Any, Sequence

from proxyd.config.action import OF_THE_REQUEST, ActionSpec, RedirectSpec
from proxyd.config.condition import ConditionSpec, Values
from proxyd.config.lists import Clients, ListSpec
from proxyd.config.route import RouteSpec
from proxyd.config.template import template
from proxyd.policy.asked import Asked
from proxyd.policy.httproute import HttpRoutes, Undecided
from proxyd.policy.lists import Lists
from proxyd.wire.httpfields import Unacceptable
from tests.policy.requests import asked
from tests.support.case import Case

SLOW = "^/(a|a)*$"


def route(name: str, redirect: str = "", **conditions: Any) -> RouteSpec:
    """A route with these conditions."""
    action = ActionSpec()
    if redirect:
        action = ActionSpec(redirect=RedirectSpec(301, template(redirect, OF_THE_REQUEST)))
    return RouteSpec(name, ("l",), "p", condition=ConditionSpec(**conditions), action=action)


def made(*specs: RouteSpec, lists: Sequence[ListSpec] = (), **how: Any) -> HttpRoutes:
    return HttpRoutes(specs, Lists(lists), **how)


class Conditions(Case):
    def chosen(self, routes: HttpRoutes, *what: Any, **how: Any) -> str:
        found = routes.choose(asked(*what, routes=routes, **how))
        return found.spec.name if found is not None else ""

    def fits(self, request: Asked, **conditions: Any) -> bool:
        return made(route("r", **conditions)).choose(request) is not None

    def test_order(self) -> None:
        """The first that fits is taken, however exact the others are; one without conditions fits always."""
        routes = made(
            route("wild", host=("*.example.com",), method=("POST",)),
            route("path", path=("/v1",)),
            route("exact", host=("a.example.com",)),
            route("rest"),
        )
        for target, host, method, name in [
            (b"/v1", b"a.example.com", b"POST", "wild"),
            (b"/v1", b"a.example.com", b"GET", "path"),
            (b"/v2", b"a.example.com", b"GET", "exact"),
            (b"/v2", b"b.example.com", b"GET", "rest"),
            (b"/v1", b"", b"POST", "path"),
            (b"/", b"", b"POST", "rest"),
        ]:
            self.assertEqual(self.chosen(routes, target, host, method), name)
        self.assertEqual(self.chosen(made(), b"/"), "")

    def test_host(self) -> None:
        """A name, a wildcard or an address, without regard to case, port, and a dot at the end."""
        hosts = ("a.com", "*.b.com", "192.0.2.1", "2001:db8::1")
        for host, fits in [
            (b"a.com", True),
            (b"A.COM:8443", True),
            (b"a.com.", True),
            (b"%61.com", True),
            (b"x.b.com", True),
            (b"y.x.B.com:80", True),
            (b"192.0.2.1:80", True),
            (b"[2001:0DB8::1]:80", True),
            (b"b.com", False),
            (b"xb.com", False),
            (b"x.a.com", False),
            (b"a.com.evil.com", False),
            (b"192.0.2.2", False),
            (b"", False),
        ]:
            self.assertEqual(self.fits(asked(b"/", host), host=hosts), fits, host)
            self.assertEqual(self.fits(asked(b"/", host), host=("*",)), bool(host), host)

    def test_path(self) -> None:
        """A path covers itself and what is below it, and nothing that merely begins like it."""
        for target, fits in [
            (b"/v1", True),
            (b"/v1/", True),
            (b"/v1/users?x", True),
            (b"/v1;x=y/users", True),
            (b"/%76%31/users", True),
            (b"//v1//users", True),
            (b"/x/../v1", True),
            (b"/v10", False),
            (b"/v1x/", False),
            (b"/V1", False),
            (b"/x/v1", False),
            (b"/", False),
            (b"/?/v1", False),
            (b"/v1/../v2", False),
            (b"*", False),
        ]:
            self.assertEqual(self.fits(asked(target), path=("/nothing", "/v1")), fits, target)
            self.assertEqual(self.fits(asked(target), path=("/",)), target != b"*", target)
        for target, fits in [(b"/v1/", True), (b"/v1/a", True), (b"/v1", False), (b"/v1;x", False)]:
            self.assertEqual(self.fits(asked(target), path=("/v1/",)), fits, target)
        self.assertTrue(self.fits(asked(b"/caf%c3%a9/x"), path=("/café",)))

    def test_path_exact(self) -> None:
        """Nothing is below an exact path."""
        for target, fits in [
            (b"/health", True),
            (b"/health?x", True),
            (b"/%68ealth", True),
            (b"/health/", False),
            (b"/health/x", False),
            (b"/healthy", False),
        ]:
            self.assertEqual(self.fits(asked(target), path_exact=("/x", "/health")), fits, target)

    def test_path_regex(self) -> None:
        """A pattern finds itself anywhere in the path without escapes; ^ and $ bind it."""
        for pattern, target, fits in [
            (r"[0-9]+", b"/users/17", True),
            (r"^/users/[0-9]+$", b"/users/17?x=y", True),
            (r"^/users/[0-9]+$", b"/users/17/x", False),
            (r"^/users/[0-9]+$", b"/users/%31%37", True),
            (r"(?i)\.PHP$", b"/a/b.pHp", True),
            (r"\.php$", b"/a/b.pHp", False),
            (r"^/é", b"/%c3%a9t%c3%a9", True),
        ]:
            self.assertEqual(self.fits(asked(target), path_regex=(pattern,)), fits, pattern)

    def test_slow_pattern(self) -> None:
        """A search that would take for ever is given up, and the request is not let through beside it."""
        routes = made(route("slow", path_regex=(SLOW,)), route("rest"))
        error = self.assertRaises(Undecided, self.chosen, routes, b"/" + b"a" * 40 + b"!")
        self.assertEqual(str(error), f"route slow: {SLOW!r} takes too long")
        self.assertEqual(self.chosen(routes, b"/aaa"), "slow")

    def test_method(self) -> None:
        """One of these, with regard to case; GET is also for HEAD (RFC 9110 9.3.2)."""
        for method, get, post in [
            (b"GET", True, False),
            (b"HEAD", True, False),
            (b"POST", False, True),
            (b"get", False, False),
        ]:
            self.assertEqual(self.fits(asked(b"/", b"", method), method=("GET", "PUT")), get)
            self.assertEqual(self.fits(asked(b"/", b"", method), method=("POST",)), post)

    def test_values(self) -> None:
        """Of a header, a parameter or a cookie: one of the texts, what a pattern finds, or any value."""
        for values, fits in [
            (Values(True), ["1", "2b", ""]),
            (Values(texts=("1", "x")), ["1"]),
            (Values(patterns=("^[0-9]b$",)), ["2b"]),
            (Values(texts=("1",), patterns=("b",)), ["1", "2b"]),
        ]:
            for value in ("1", "2b", "", "X"):
                data = value.encode()
                wanted = value in fits or values.anything
                line = b"X-A: " + data
                self.assertEqual(self.fits(asked(b"/", b"", b"GET", line), header=(("x-a", values),)), wanted)
                self.assertEqual(self.fits(asked(b"/?b&a=" + data), query=(("a", values),)), wanted)
                line = b"Cookie: c=d; a=" + data
                self.assertEqual(self.fits(asked(b"/", b"", b"GET", line), cookie=(("a", values),)), wanted)
            self.assertFalse(self.fits(asked(b"/?b"), query=(("a", values),)))
        both = (("x-a", Values(True)), ("x-b", Values(True)))
        self.assertFalse(self.fits(asked(b"/", b"", b"GET", b"X-A: 1"), header=both))
        self.assertTrue(self.fits(asked(b"/", b"", b"GET", b"X-A: 1", b"X-B: 1"), header=both))

    def test_client(self) -> None:
        """The client's address is in one of the networks, those of a list among them."""
        office = ListSpec("office", Clients((ipaddress.ip_network("2001:db8::/32"),)))
        clients = Clients((ipaddress.ip_network("10.0.0.0/8"),), ("office",), unix=True)
        routes = made(route("r", client=clients), lists=[office])
        for client, name in [
            ("10.1.2.3", "r"),
            ("2001:db8::5", "r"),
            ("192.0.2.1", ""),
            ("2001:db9::5", ""),
        ]:
            self.assertEqual(self.chosen(routes, b"/", client=ipaddress.ip_address(client).packed), name)
        self.assertEqual(self.chosen(routes, b"/", client=b""), "r")

    def test_redirect_in_a_circle(self) -> None:
        """A request that is already where a route would send it does not take that route."""
        for to, target, host, secure, name in [
            ("https://{host}{uri}", b"/a?b", b"a.com", False, "r"),
            ("https://{host}{uri}", b"/a?b", b"a.com", True, "rest"),
            ("https://{host}{uri}", b"/a?b", b"A.com:443", True, "rest"),
            ("https://{host}{uri}", b"/a?b", b"a.com:8443", True, "r"),
            ("https://www.a.com{uri}", b"/", b"a.com", True, "r"),
            ("https://www.a.com{uri}", b"/", b"www.a.com", True, "rest"),
            ("https://www.a.com{uri}", b"/", b"www.a.com", False, "r"),
            ("http://a.com", b"/", b"a.com", False, "rest"),
            ("http://a.com/", b"//", b"a.com", False, "rest"),
            ("/login", b"/", b"a.com", False, "r"),
            ("/login", b"/login", b"a.com", False, "rest"),
            ("/login", b"/login?x", b"a.com", False, "r"),
            ("{path}", b"/a", b"a.com", False, "rest"),
            ("{path}", b"/a?b", b"a.com", False, "r"),
        ]:
            routes = made(route("r", redirect=to), route("rest"))
            self.assertEqual(self.chosen(routes, target, host, secure=secure), name, (to, target, host))

    def test_target(self) -> None:
        """Only where a path decides it is brought into its normal form, and refused if it has none."""
        for routes in (made(route("r")), made(route("r", host=("a.com",), redirect="/{query}"))):
            self.assertEqual(routes.target(b"//a/%61/../%zz?b").whole, b"//a/%61/../%zz?b")
        for decides in (
            route("r", path=("/x",)),
            route("r", path_exact=("/x",)),
            route("r", path_regex=("/x",)),
        ):
            routes = made(route("a"), decides)
            self.assertEqual(routes.target(b"//a/%61/../b?c").whole, b"/a/b?c")
            self.assertRaises(Unacceptable, routes.target, b"/a%2fb")
        self.assertEqual(made(route("r", path=("/x",)), slashes=True).target(b"/a%2fb").path, b"/a%2Fb")

    def test_many_hosts(self) -> None:
        """A request asks only the routes for its host, however many others there are."""
        specs = [route(str(n), host=(f"h{n}.example.com", f"*.w{n}.example.com")) for n in range(3000)]
        routes = made(*specs, route("rest"))
        for n in range(3000):
            self.assertEqual(self.chosen(routes, b"/", b"h%d.example.com" % n), str(n))
        self.assertEqual(self.chosen(routes, b"/", b"x.y.w17.example.com"), "17")
        self.assertEqual(self.chosen(routes, b"/", b"a." * 5000 + b"com"), "rest")
        self.assertEqual([each.spec.name for each in routes._of(b"h17.example.com")], ["17", "rest"])
        self.assertLessEqual(len(routes._remembered), 1000)


class LikeAWalk(Case):
    """The index chooses the same as asking every route, by rules written down a second time."""

    def test_like_a_walk(self) -> None:
        """Whatever the routes and whatever is asked."""
        taken = 0
        for seed in range(300):
            dice = random.Random(seed)
            specs = [self.some_route(str(n), dice) for n in range(dice.randint(0, 12))]
            routes = made(*specs)
            for _ in range(30):
                request = self.some_request(dice)
                found = routes.choose(request)
                naive = next((spec for spec in specs if walk(spec.condition, request)), None)
                self.assertIs(found.spec if found is not None else None, naive, (specs, request.host))
                taken += found is not None
        self.assertGreater(taken, 2000)

    def some_route(self, name: str, dice: random.Random) -> RouteSpec:
        given: dict[str, Any] = {}
        if dice.random() < 0.7:
            given["host"] = tuple({self.pattern(dice) for _ in range(dice.randint(1, 3))})
        if dice.random() < 0.5:
            given["path"] = tuple({self.path(dice) for _ in range(dice.randint(1, 2))})
        elif dice.random() < 0.3:
            given["path_exact"] = (self.path(dice),)
        if dice.random() < 0.3:
            given["method"] = tuple({dice.choice(["GET", "POST", "HEAD"]) for _ in range(2)})
        for kind in ("header", "query", "cookie"):
            if dice.random() < 0.15:
                given[kind] = (("a", Values(texts=(dice.choice("12"),))),)
        return route(name, **given)

    def some_request(self, dice: random.Random) -> Asked:
        target = self.path(dice) + dice.choice(["", "?a=1", "?b=2&a=2", "?A=1"])
        lines = []
        if dice.random() < 0.5:
            lines.append(b"A: " + dice.choice([b"1", b"2"]))
        if dice.random() < 0.5:
            lines.append(b"Cookie: a=" + dice.choice([b"1", b"2"]))
        host = "" if dice.random() < 0.1 else self.name(dice)
        return asked(target.encode(), host.encode(), dice.choice([b"GET", b"POST", b"HEAD"]), *lines)

    def name(self, dice: random.Random) -> str:
        return ".".join(dice.choice(["a", "b", "com"]) for _ in range(dice.randint(1, 4)))

    def pattern(self, dice: random.Random) -> str:
        return dice.choice(["*", f"*.{self.name(dice)}", f"*.{self.name(dice)}", self.name(dice)])

    def path(self, dice: random.Random) -> str:
        path = "/" + "/".join(dice.choice(["a", "b", "ab"]) for _ in range(dice.randint(0, 3)))
        return path if path == "/" or dice.random() < 0.7 else path + "/"


def walk(wanted: ConditionSpec, request: Asked) -> bool:
    """Whether all conditions hold."""
    host, path = request.host.decode(), request.target.plain.decode()
    query = dict(pair.split("=") for pair in (request.target.query or b"").decode().split("&") if pair)
    fields = {name.decode(): value.decode() for name, value, _, _ in request.fields}
    cookies = dict([fields["cookie"].split("=")]) if "cookie" in fields else {}
    if wanted.host and not (host and any(fnmatchcase(host, pattern) for pattern in wanted.host)):
        return False
    if wanted.path and not any(
        path == prefix or path.startswith(prefix.rstrip("/") + "/") for prefix in wanted.path
    ):
        return False
    if wanted.path_exact and path not in wanted.path_exact:
        return False
    method = request.method.decode()
    if wanted.method and method not in wanted.method and not (method == "HEAD" and "GET" in wanted.method):
        return False
    for pairs, found in ((wanted.header, fields), (wanted.query, query), (wanted.cookie, cookies)):
        for name, values in pairs:
            if found.get(name) not in values.texts:
                return False
    return True
