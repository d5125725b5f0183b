"""Is what a request asks found out as it is meant?"""

from __future__ import annotations

from proxyd.policy.asked import host_of
from tests.policy.requests import asked
from tests.support.case import Case


class AskedTests(Case):
    def test_host(self) -> None:
        """RFC 3986 6.2.2: case, a dot at the end, escapes, the way an address is written: no difference."""
        for authority, found in [
            (b"www.example.com", ("www.example.com", 0)),
            (b"WWW.Example.COM:8080", ("www.example.com", 8080)),
            (b"www.example.com.", ("www.example.com", 0)),
            (b"www.example.com.:80", ("www.example.com", 80)),
            (b"%77ww.example%2Ecom", ("www.example.com", 0)),
            (b"192.0.2.1:80", ("192.0.2.1", 80)),
            (b"[2001:DB8:0::1]:80", ("2001:db8::1", 80)),
            (b"[2001:db8::1]", ("2001:db8::1", 0)),
            (b"a:", ("a", 0)),
            (b"", ("", 0)),
            (b"a:b:c", ("", 0)),
        ]:
            self.assertEqual(host_of(authority), found)

    def test_host_with_what_no_name_has(self) -> None:
        """An escape that makes no letter of a name stays one: what comes of it is written into fields."""
        for authority in (b"a%0d%0ax", b"a%00", b"%2f", b"a%20b"):
            self.assertEqual(host_of(authority)[0], authority.decode().lower())

    def test_path(self) -> None:
        """The path is text without escapes; what is no UTF-8 has a place in it."""
        self.assertEqual(asked(b"/caf%C3%A9?x").path, "/café")
        self.assertEqual(asked(b"/%E9").path, "/\udce9")

    def test_fields(self) -> None:
        """All fields of a name, whatever its case."""
        request = asked(b"/", b"", b"GET", b"X-A: 1", b"x-a: 2", b"X-B: 3", b"X-C: caf\xc3\xa9")
        self.assertEqual([*request.values("x-a")], ["1", "2"])
        self.assertEqual([*request.values("x-c")], ["café"])
        self.assertEqual([*request.values("x-d")], [])

    def test_fields_of_proxies(self) -> None:
        """What a proxy says of the client counts from those alone that are trusted."""
        lines = (b"X-Forwarded-Proto: https", b"X-Real-IP: 10.0.0.1")
        for trusted, values, scheme in [(False, [], "http"), (True, ["10.0.0.1"], "https")]:
            request = asked(b"/", b"", b"GET", *lines, trusted=trusted)
            self.assertEqual([*request.values("x-real-ip")], values)
            self.assertEqual(request.scheme, scheme)

    def test_scheme(self) -> None:
        """That of our connection, unless a trusted proxy says one that there is."""
        self.assertEqual(asked(secure=True).scheme, "https")
        for told, scheme in [
            (b"http", "http"),
            (b"HTTPS", "https"),
            (b"ftp", "https"),
            (b"http, https", "https"),
        ]:
            request = asked(b"/", b"", b"GET", b"X-Forwarded-Proto: " + told, secure=True, trusted=True)
            self.assertEqual(request.scheme, scheme)

    def test_parameters(self) -> None:
        """Escapes are undone in names and values; a plus is a blank; one without = has nothing."""
        request = asked(b"/?a=1&a=2&b=x+y%21&%63=%C3%A9&d&=e&f=g=h;a=3")
        for name, values in [
            ("a", ["1", "2"]), ("b", ["x y!"]), ("c", ["é"]), ("d", [""]), ("", ["e"]), ("f", ["g=h;a=3"]),
            ("g", []),
        ]:  # fmt: skip
            self.assertEqual([*request.parameters(name)], values, name)
        self.assertEqual([*asked(b"/a").parameters("a")], [])
        self.assertEqual([*asked(b"/?").parameters("a")], [])

    def test_cookies(self) -> None:
        """RFC 6265 4.2.1, and several fields, which HTTP/2 may send; quotes belong to no value."""
        request = asked(b"/", b"", b"GET", b"Cookie: a=1; b=2=3;c", b'cookie: a="x y"; d="')
        for name, values in [("a", ["1", "x y"]), ("b", ["2=3"]), ("c", [""]), ("d", ['"']), ("e", [])]:
            self.assertEqual([*request.cookies(name)], values, name)
