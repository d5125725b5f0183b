"""Are the conditions of routes for requests taken for what an operator means by them?"""

from __future__ import annotations

from ipaddress import ip_network

from proxyd.config.condition import ConditionSpec, Values, is_below, names_cover
from proxyd.config.lists import Clients
from proxyd.config.route import RouteSpec
from tests.config.ini import LISTENER, POOL, IniCase

WEB = f"{LISTENER}protocol = http\n{POOL}"
LINES = WEB.count("\n")


class HttpCase(IniCase):
    """A test with a route of a listener for HTTP."""

    def route(self, options: str) -> RouteSpec:
        (found,) = self.load(f"{WEB}[route r]\nlistener = l\n{options}\n").listeners[0].routes
        return found

    def refused(self, options: str) -> list[str]:
        """What is wrong with these options, each with its line among them and what is wrong there."""
        found = []
        for problem in self.problems(f"{WEB}[route r]\nlistener = l\n{options}\n"):
            place, text = problem.removeprefix("proxy.ini:").split(": [route r] ")
            found.append(f"{int(place) - LINES - 2} {text}")
        return found


class ConditionTests(HttpCase):
    def condition(self, options: str) -> ConditionSpec:
        return self.route(f"pool = p\n{options}").condition

    def wrong(self, options: str) -> list[str]:
        return self.refused(f"{options}\npool = p")

    def test_all_given(self) -> None:
        """Each condition is taken as it is written; names in lower case."""
        self.assertEqual(
            self.condition(
                "host = A.com. *.B.com\n  [2001:DB8::0:1] 192.0.2.1 *\n"
                "path = /v1 /é/\n"
                r"path_regex = ^/x$$ '\.php$'"
                "\nmethod = GET PURGE\n"
                "header X-A = 1 '2 3'\nheader x-b = *\n"
                "query a = ~^x\nquery A = ''\n"
                "cookie b = ~x y\n"
                "client = 10.0.0.0/8 @office unix file:/x\n\n[list office]\nnetworks = 192.0.2.1"
            ),
            ConditionSpec(
                ("a.com", "*.b.com", "2001:db8::1", "192.0.2.1", "*"),
                ("/v1", "/é/"),
                (),
                ("^/x$", r"\.php$"),
                ("GET", "PURGE"),
                (("x-a", Values(texts=("1", "2 3"))), ("x-b", Values(True))),
                (("a", Values(patterns=("^x",))), ("A", Values(texts=("",)))),
                (("b", Values(texts=("y",), patterns=("x",))),),
                Clients((ip_network("10.0.0.0/8"),), ("office",), ("/x",), True),
            ),
        )
        self.assertEqual(self.condition("path_exact = / /a/b").path_exact, ("/", "/a/b"))

    def test_none(self) -> None:
        """A route for requests without a condition is for all that come to it."""
        self.assertEqual(self.condition(""), ConditionSpec())

    def test_host_refused(self) -> None:
        """What no client asks for is refused with what would be right."""
        for value, reason in [
            ("a.com:8080", '"a.com:8080" has a port, which makes no difference; write a.com'),
            ("[::1]:80", '"[::1]:80" has a port, which makes no difference; write [::1]'),
            ("*a.com", '"*a.com": a * stands alone, or once and before the first dot'),
            ("http://a.com", '"http://a.com" is not the name of a host'),
            ("a.com/x", '"a.com/x" is not the name of a host'),
            (
                "bücher.example",
                '"bücher.example" has letters that no name has on the wire; write it as its xn-- form, '
                "as in xn--bcher-kva.example",
            ),
            ("::1 [0::1]", '"[0::1]" is given twice'),
        ]:
            self.assertEqual(self.wrong(f"host = {value}"), [f"1 host: {reason}"])

    def test_path_refused(self) -> None:
        """A path that no request could have in its normal form is refused."""
        never = "is never met: paths are compared without //, . and .."
        other = "is not a path; it begins with / and has no blank, ?, # or backslash"
        for name in ("path", "path_exact"):
            for value, reason in [
                ("v1", f'"v1" {other}'),
                ("/a?b", f'"/a?b" {other}'),
                ("'/a b'", f'"/a b" {other}'),
                ("'/a\\b'", f'"/a\\b" {other}'),
                ("/a//b", f'"/a//b" {never}'),
                ("/a/../b", f'"/a/../b" {never}'),
                ("/.", f'"/." {never}'),
                ("/a%20", '"/a%20" has a %; paths are compared without escapes, so write the letter itself'),
                ("/a;b", '"/a;b" has a ;, and what is behind it in a segment is not compared'),
            ]:
                self.assertEqual(self.wrong(f"{name} = {value}"), [f"1 {name}: {reason}"])
        self.assertEqual(
            self.wrong("path = /a\npath_exact = /a"),
            ["2 path_exact: is for other paths than path; a route has one of them"],
        )

    def test_others_refused(self) -> None:
        """Methods, patterns, fields and values that would never be met are refused."""
        for option, problem in [
            ("path_regex = (", 'path_regex: "(" is not a regular expression: missing ) at position 1'),
            ("method = get", 'method: "get": methods are in capitals (RFC 9110, 9.1); write GET'),
            ("method = G@T", 'method: "G@T" is not a method'),
            ("method = CONNECT", "method: CONNECT is never passed on"),
            ("header = 1", "header: needs a name; write header X-Api-Version = 2, for example"),
            ("header X-A = ~(", 'header X-A: "(" is not a regular expression: missing ) at position 1'),
            ("header X-A = 1 1", "header X-A: has the same value twice"),
            ("header X-A = * 1", "header X-A: * is any value, so no other need be written"),
            ("header X-A = 1\nheader x-a = 1", "header x-a: is given twice, since case makes no difference"),
            ("header Host = a", "header Host: is no field like others; write host = NAME for that"),
            (
                "header Cookie = a",
                "header Cookie: is no field like others; write cookie NAME = VALUE for that",
            ),
            (
                "header TE = a",
                "header TE: is between the client and this proxy, so no route goes by it",
            ),
            ("client = all", 'client: "all" is not known; for the networks of [list all] write @all'),
            ("client = @office", 'client: "office" is not known; there is none'),
        ]:
            line = option.count("\n") + 1
            self.assertEqual(self.wrong(option), [f"{line} {problem}"])

    def test_other_listeners(self) -> None:
        """Connections have no requests to go by, and requests are not what goes by the first bytes."""
        text = f"{WEB}[listener t]\nbind = tcp:81\n[route r]\nlistener = t\npool = p\n"
        line = text.count("\n") + 1
        lacks = "[listener t] does not speak HTTP, so there are no requests; write protocol = http there"
        for option in (
            "host = a", "path = /", "path_exact = /", "path_regex = /", "method = GET", "header A = 1",
            "query a = 1", "cookie a = 1", "client = ::1", "rewrite = /a /b", "request_header = remove A",
            "query a = 1", "cookie a = 1", "client = ::1", "rewrite = /a /b", "request_header = remove A",
            "max_body = 1k",
        ):  # fmt: skip
            name = option.split()[0]
            self.assertEqual(
                self.problems(f"{text}speaks = tls\n{option}\n"),
                [f"proxy.ini:{line + 1}: [route r] {name}: {lacks}"],
            )
        for option in ("sni = a", "alpn = h2", "speaks = http"):
            name = option.split()[0]
            self.assertEqual(
                self.wrong(option),
                [f"1 {name}: [listener l] speaks HTTP, so nothing else is read of its clients"],
            )

    def test_inherited_protocol(self) -> None:
        """It makes no difference whether a listener says itself what it speaks."""
        text = f"[proxyd]\nprotocol = http\n{LISTENER}{POOL}[route r]\nlistener = l\npool = p\nhost = a.com\n"
        self.assertEqual(self.load(text).listeners[0].routes[0].condition.host, ("a.com",))


class Covering(HttpCase):
    def test_names(self) -> None:
        """A wildcard covers what is below it, other wildcards among that."""
        for pattern, name, covers in [
            ("*", "a", True),
            ("*", "*.a", True),
            ("a.com", "a.com", True),
            ("*.com", "a.com", True),
            ("*.com", "*.a.com", True),
            ("*.com", "*.com", True),
            ("*.a.com", "*.com", False),
            ("*.a.com", "a.com", False),
            ("*.a.com", "xa.com", False),
            ("a.com", "*.a.com", False),
            ("a.com", "*", False),
        ]:
            self.assertEqual(names_cover(pattern, name), covers, (pattern, name))

    def test_paths(self) -> None:
        """A prefix ends where a segment does."""
        for prefix, path, below in [
            ("/", "/a", True),
            ("/a", "/a", True),
            ("/a", "/a/", True),
            ("/a", "/a/b", True),
            ("/a/", "/a/b", True),
            ("/a/", "/a/", True),
            ("/a/", "/a", False),
            ("/a", "/ab", False),
            ("/a/b", "/a", False),
        ]:
            self.assertEqual(is_below(prefix, path), below, (prefix, path))

    def test_never_taken(self) -> None:
        """A route that stands behind one that fits all that it fits is an error; others are not."""
        for first, second, never in [
            ("", "host = a.com", True),
            ("host = *", "host = a.com", True),
            ("host = *", "", False),
            ("path = /v1", "path = /v1/users", True),
            ("path = /v1", "path_exact = /v1", True),
            ("path = /v1", "path = /v1 /v2", False),
            ("path = /v1\nmethod = GET", "path = /v1", False),
            ("path = /v1", "path = /v1\nmethod = GET", True),
            ("path = /v1", "host = a.com", False),
            ("method = GET POST", "method = GET", True),
            ("path_regex = a", "path_regex = b", False),
            ("path_regex = a b", "path_regex = b", True),
            ("header A = 1", "header a = 1\nquery b = 1", True),
            ("header A = 1", "header a = 2", False),
            ("client = ::1", "client = ::1", True),
            ("client = ::1", "", False),
            ("client = ::/0", "client = ::1", False),
        ]:
            text = f"{WEB}[route a]\nlistener = l\npool = p\n{first}\n"
            text += f"[route b]\nlistener = l\npool = p\n{second}\n"
            if never:
                (problem,) = self.problems(text)
                self.assertIn(f"[route b] is never taken: [route a] in proxy.ini:{LINES + 1} stands", problem)
            else:
                self.assertEqual(len(self.load(text).listeners[0].routes), 2)

    def test_redirects_cover_nothing(self) -> None:
        """Who is where a redirect leads takes the next route."""
        first = "[route a]\nlistener = l\nredirect = 301 https://www.a.com{uri}\n"
        config = self.load(f"{WEB}{first}[route b]\nlistener = l\npool = p\nhost = www.a.com\n")
        self.assertEqual([route.name for route in config.listeners[0].routes], ["a", "b"])
