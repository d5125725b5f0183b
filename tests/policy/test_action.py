"""Is what comes of a route what the operator has written?"""

from __future__ import annotations

import random

from proxyd.config.action import (
    ADD,
    OF_ALL,
    OF_THE_REQUEST,
    REMOVE,
    SET,
    EditSpec,
    RedirectSpec,
    RewriteSpec,
)
from proxyd.config.template import template
from proxyd.policy.action import Editor, Rewriter, fill, location, words_of
from proxyd.wire.httpfields import Unacceptable, parse_field
from proxyd.wire.target import Target, parse_target
from tests.policy.requests import asked
from tests.support.case import Case


class Places(Case):
    def test_words(self) -> None:
        """What stands for what; a query that is not there is nothing."""
        words = words_of(asked(b"/a/%62;c?d=e%20", b"A.com.:8080", secure=True))
        self.assertEqual(
            words,
            {"scheme": "https", "host": "a.com", "path": "/a/b;c", "query": "d=e%20", "uri": "/a/b;c?d=e%20"},
        )
        words = words_of(asked(b"/a", b"[2001:DB8::1]:80"))
        self.assertEqual((words["host"], words["query"], words["uri"]), ("[2001:db8::1]", "", "/a"))

    def test_fill(self) -> None:
        """A brace is written twice."""
        made = template("a{host}{{b}}{uri}c", OF_ALL)
        self.assertEqual(str(made), "a{host}{{b}}{uri}c")
        self.assertEqual(fill(made, {"host": "x", "uri": "/y"}), "ax{b}/yc")

    def test_location(self) -> None:
        """A client is sent where it is written; never to a host that it has put into the path itself."""
        for to, target, place in [
            ("https://{host}{uri}", b"/a?b", "https://a.com/a?b"),
            ("https://{host}:8443{path}?x={query}", b"/a?b", "https://a.com:8443/a?x=b"),
            ("https://new.example.com/", b"/a", "https://new.example.com/"),
            ("{path}/", b"//evil.com/a", "/evil.com/a/"),
            ("{uri}/", b"/\\evil.com/a", "/evil.com/a/"),
            ("{path}x", b"/a\\b", "/a%5Cbx"),
            ("{scheme}://b.com{uri}", b"///", "http://b.com/"),
            ("https://{host}{uri}", b"*", "https://a.com/"),
        ]:
            path, mark, query = target.partition(b"?")
            request = asked(b"/", b"a.com:80")
            request.target = Target(path, path, query if mark else None)
            self.assertEqual(location(RedirectSpec(301, template(to, OF_THE_REQUEST)), request), place)


class Back(Case):
    def test_paths(self) -> None:
        """What a server calls its paths is led back to what clients call them, once."""
        for found, to, path, result in [
            ("/v1", "/", b"/login", b"/v1/login"),
            ("/v1", "/", b"/", b"/v1/"),
            ("/v1", "/", b"/?x=/v1#y", b"/v1/?x=/v1#y"),
            ("/v1", "/", b"/v1/login", b"/v1/login"),  # a server that knows where it is
            ("/v1", "/", b"/v1?x", b"/v1?x"),
            ("/v1", "/", b"/v10", b"/v1/v10"),
            ("/v1/", "/", b"/login", b"/v1/login"),
            ("/v1", "/api/v1", b"/api/v1/login", b"/v1/login"),
            ("/v1", "/api/v1", b"/api/v1", b"/v1"),
            ("/v1", "/api/v1/", b"/api/v1?x", b"/v1?x"),
            ("/v1", "/api/v1", b"/api/v10", b"/api/v10"),
            ("/v1", "/api/v1", b"/login", b"/login"),
            ("/", "/app", b"/app/login", b"/login"),
            ("/", "/app", b"/app", b"/"),
            ("/", "/app", b"/other", b"/other"),
            ("/a b", "/c", b"/c/d", b"/a%20b/d"),
        ]:
            self.assertEqual(Rewriter(RewriteSpec(found, to)).back(path), result, (found, to, path))
        self.assertEqual(Rewriter(RewriteSpec("^/v1", "/", True)).back(b"/x"), b"/x")

    def test_cookies(self) -> None:
        """A cookie for all of a server is for what clients call that, with or without a slash behind it."""
        for found, to, path, result in [
            ("/v1", "/", b"/", b"/v1"),
            ("/v1", "/", b"/x/", b"/v1/x/"),
            ("/", "/app", b"/app", b"/"),
            ("/", "/", b"/", b"/"),
        ]:
            self.assertEqual(Rewriter(RewriteSpec(found, to)).cookie_back(path), result)


class Rewriting(Case):
    def rewritten(self, found: str, to: str, target: bytes, pattern: bool = False) -> bytes:
        return Rewriter(RewriteSpec(found, to, pattern)).rewrite(parse_target(target)).whole

    def test_path(self) -> None:
        """A path stands for another, with all that is below it, and nothing else does."""
        for found, to, target, result in [
            ("/v1", "/api", b"/v1/users?x=/v1", b"/api/users?x=/v1"),
            ("/v1", "/api", b"/v1", b"/api"),
            ("/v1", "/api", b"/v1?x", b"/api?x"),
            ("/v1", "/api", b"/v1/", b"/api/"),
            ("/v1", "/api", b"/v1;p=q/users", b"/api;p=q/users"),
            ("/v1", "/api", b"/v10", b"/v10"),
            ("/v1", "/api", b"/x/v1", b"/x/v1"),
            ("/v1", "/", b"/v1/users", b"/users"),
            ("/v1", "/", b"/v1", b"/"),
            ("/v1", "/", b"/v1/", b"/"),
            ("/v1", "/", b"/v1;p/users", b"/users"),
            ("/v1", "/api/", b"/v1/users", b"/api/users"),
            ("/v1/", "/api", b"/v1/users", b"/api/users"),
            ("/v1/", "/api/", b"/v1/users", b"/api/users"),
            ("/v1/", "/", b"/v1/", b"/"),
            ("/", "/api", b"/users", b"/api/users"),
            ("/", "/api/", b"/", b"/api/"),
            ("/café", "/bar é", b"/caf%C3%A9/x", b"/bar%20%C3%A9/x"),
            ("/", "/api", b"*", b"*"),
        ]:
            self.assertEqual(self.rewritten(found, to, target), result, (found, to, target))

    def test_pattern(self) -> None:
        """What a pattern finds first is replaced; groups keep what they have found, the query stays."""
        for found, to, target, result in [
            ("^/users/([0-9]+)", r"/u/\1", b"/users/17/x?y", b"/u/17/x?y"),
            ("^/(a)?(b)/", r"/\2\1/", b"/b/c", b"/b/c"),
            (r"\.php$", "", b"/x.php", b"/x"),
            ("a", "b", b"/aa", b"/ba"),
            ("z", "b", b"/aa", b"/aa"),
            ("^/old", "new", b"/old/x", b"/new/x"),
            (".*", "", b"/x", b"/"),
            ("%20", "_", b"/a%20b", b"/a_b"),
            ("^", "/x", b"*", b"*"),
        ]:
            self.assertEqual(self.rewritten(found, to, target, True), result, (found, to, target))

    def test_no_way_up(self) -> None:
        """What a pattern leaves is brought into its normal form anew: it makes no way to other paths."""
        self.assertEqual(self.rewritten("^/img(.*)", r"/files\1", b"/img../secret", True), b"/files../secret")
        self.assertEqual(self.rewritten("^/img", "/files/", b"/img/a", True), b"/files/a")
        self.assertEqual(self.rewritten("^/img", "/files/", b"/img../a", True), b"/a")
        self.assertRaises(Unacceptable, self.rewritten, "^/img", "/", b"/img../a", True)

    def test_prefix_makes_no_way_up(self) -> None:
        """Whatever is asked for, what a path stands for has it below it."""
        dice = random.Random(1)
        pieces = [b"/", b"v1", b"..", b".", b"%2e", b";", b";x", b"a", b"//", b"%2E%2e"]
        seen = 0
        for _ in range(20_000):
            target = b"/v1" + b"".join(dice.choice(pieces) for _ in range(dice.randint(0, 6)))
            try:
                normal = parse_target(target)
            except Unacceptable:
                continue
            for to in ("/api", "/api/"):
                result = Rewriter(RewriteSpec("/v1", to)).rewrite(normal)
                if result is not normal:
                    seen += 1
                    again = parse_target(result.path)
                    self.assertEqual(again.path, result.path)
                    self.assertEqual(again.plain.split(b"/")[1], b"api", target)
        self.assertGreater(seen, 1000)


class Editing(Case):
    def edited(self, *specs: EditSpec) -> list[bytes]:
        fields = [parse_field(line) for line in (b"A: 1", b"B: 2", b"a: 3", b"X-Real-IP: 4")]
        return [field[2].rstrip() for field in Editor(specs).edit(fields, {"host": "h"})]

    def edit(self, how: str, name: str, value: str = "") -> EditSpec:
        return EditSpec(how, name, template(value, OF_ALL))

    def test_edits(self) -> None:
        """Set replaces all of a name, add adds, remove removes; in their order, without regard to case."""
        for specs, lines in [
            ([self.edit(SET, "a", "x")], [b"B: 2", b"X-Real-IP: 4", b"a: x"]),
            ([self.edit(ADD, "A", "x")], [b"A: 1", b"B: 2", b"a: 3", b"X-Real-IP: 4", b"A: x"]),
            ([self.edit(REMOVE, "A")], [b"B: 2", b"X-Real-IP: 4"]),
            ([self.edit(REMOVE, "x_real_ip")], [b"A: 1", b"B: 2", b"a: 3"]),
            ([self.edit(REMOVE, "C")], [b"A: 1", b"B: 2", b"a: 3", b"X-Real-IP: 4"]),
            ([self.edit(SET, "C", "{host}!")], [b"A: 1", b"B: 2", b"a: 3", b"X-Real-IP: 4", b"C: h!"]),
            (
                [self.edit(ADD, "C", ""), self.edit(REMOVE, "c"), self.edit(REMOVE, "A")],
                [b"B: 2", b"X-Real-IP: 4"],
            ),
        ]:
            self.assertEqual(self.edited(*specs), lines)

    def test_of_ours(self) -> None:
        """A field that a route sets is passed on, whatever its name says of it otherwise."""
        [field] = Editor([self.edit(SET, "X-Real-IP", "1")]).edit([], {})
        self.assertEqual(field[3], 0)
