"""Is a client shown the page that is meant for it, with nothing in it that is not?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Optional

from proxyd.config.action import RespondSpec
from proxyd.config.errorpage import PLACES, ErrorPage, ErrorPageSpec, ErrorPageSpecs
from proxyd.config.http import HttpSpec
from proxyd.config.reader import Word
from proxyd.errors import Reason
from proxyd.frontends.http.errorpage import ErrorPages, wants_json
from proxyd.frontends.http.pages import PAGE, Words
from proxyd.wire.http1 import Memory, parse_answer
from proxyd.wire.httpfields import Lines, parse_field
from tests.frontends.http.front import GET, HttpCase
from tests.frontends.http.test_routed import RoutedCase, route
from tests.support.case import Case

JSON = b"Accept: application/json"


def specs(**pages: str) -> ErrorPageSpecs:
    """Pages as an operator writes them; `_` stands before the status."""
    found = []
    for name, text in pages.items():
        words = [Word(text, "/etc/proxy.ini", 1)]
        found.append((name[1:], ErrorPage().parse(words, lambda line, why: None)))
    return tuple(found)


def place(name: str) -> str:
    """What stands for each name: its own name, and what must not be taken for more than text."""
    return f"{name}<\"&'\\"


class Pages(Case):
    """Which page it is, and what is in it."""

    def words(
        self, pages: ErrorPages, status: int = 503, accept: bytes = b"*/*", beside: Words = PAGE
    ) -> Words:
        return pages.words(status, [parse_field(b"Accept: " + accept)], place, beside)

    def body(self, pages: ErrorPages, status: int = 503, accept: bytes = b"*/*") -> Optional[bytes]:
        return self.words(pages, status, accept).body

    def file(self, name: str, data: bytes) -> str:
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / name).write_bytes(data)
        return str(folder / name)

    def test_which(self) -> None:
        """The one of that status, else that of its class; of a route before those of its listener."""
        listener = ErrorPages(specs(_503="one", _5xx="two", _404="three"))
        pages = ErrorPages(specs(_502="four", _4xx="five"), listener)
        for status, body in (
            (503, b"one\n"),
            (502, b"four\n"),
            (500, b"two\n"),
            (404, b"five\n"),
            (400, b"five\n"),
        ):
            self.assertEqual(self.body(pages, status), body)
        self.assertEqual(self.body(listener, 404), b"three\n")
        self.assertEqual(self.words(listener, 400), PAGE)

    def test_places(self) -> None:
        """What stands in them is text and no more, whatever the page is."""
        text = "a {{{status}}} {reason}{id} {message} {listener} {client}!"
        self.assertEqual(
            self.body(ErrorPages(specs(_503=text))),
            b"a {status<\"&'\\} reason<\"&'\\id<\"&'\\ message<\"&'\\ listener<\"&'\\ client<\"&'\\!\n",
        )
        self.assertEqual(
            self.body(ErrorPages(specs(_503="<p>{client}"))), b"<p>client&lt;&quot;&amp;&#x27;\\\n"
        )
        body = self.body(ErrorPages(specs(_503='{{"who": "{client}"}}')), accept=b"application/json")
        self.assertEqual(json.loads(body or b""), {"who": place("client")})

    def test_files(self) -> None:
        """They are read when that is asked for, and again; braces that are no place stay."""
        path = self.file("503.html", b"<style>p {color: red} {status}</style>{nobody}{id}")
        pages = ErrorPages((("503", (ErrorPageSpec(None, path, "text/html"),)),))
        self.assertEqual(pages.load(), [])
        escaped = b"&lt;&quot;&amp;&#x27;\\"
        expected = b"<style>p {color: red} status%s</style>{nobody}id%s" % (escaped, escaped)
        self.assertEqual((self.body(pages), self.words(pages).content_type), (expected, "text/html"))
        Path(path).write_bytes(b"new")
        self.assertEqual(self.body(pages), expected)
        self.assertEqual((pages.load(), self.body(pages)), ([], b"new"))

    def test_files_of_another_kind(self) -> None:
        """There are no places in a picture."""
        path = self.file("503.png", b"\x89PNG {status} \xff")
        pages = ErrorPages((("503", (ErrorPageSpec(None, path, "image/png"),)),))
        self.assertEqual((pages.load(), self.body(pages)), ([], b"\x89PNG {status} \xff"))

    def test_files_that_are_wrong(self) -> None:
        """They are told, all at once, and what was read before stays."""
        path, large = self.file("a.html", b"fine"), self.file("b.html", b"x" * (64 * 1024 + 1))
        pages = ErrorPages(
            (
                ("503", (ErrorPageSpec(None, path, "text/html"),)),
                ("502", (ErrorPageSpec(None, large, "text/html"),)),
            )
        )
        self.assertEqual(pages.load(), [f"{large}: is longer than 65536 bytes"])
        Path(path).unlink()
        self.assertEqual(len(pages.load()), 2)
        self.assertEqual(self.body(pages), b"fine")

    def test_json(self) -> None:
        """Who accepts JSON and no HTML gets JSON, that of the listener or a problem of RFC 9457."""
        for accept, wanted in [
            (b"application/json", True),
            (b"application/problem+json, */*;q=0.1", True),
            (b"APPLICATION/JSON", True),
            (b"text/html, application/json", False),
            (b"application/xhtml+xml, application/json", False),
            (b"*/*", False),
            (b"", False),
        ]:
            self.assertEqual(wants_json([parse_field(b"Accept: " + accept)]), wanted, accept)
        self.assertFalse(wants_json([]))
        pages = ErrorPages(specs(_503="<p>"))
        words = self.words(pages, accept=b"application/json", beside=Words(fields=(b"A: b",)))
        self.assertEqual(
            json.loads(words.body or b""),
            {
                "type": "about:blank",
                "title": "Service Unavailable",
                "status": 503,
                "detail": "The server cannot answer now; please try again soon.",
            },
        )
        self.assertEqual(words.content_type, "application/problem+json")
        self.assertEqual(words.fields, (b"A: b", b"Cache-Control: no-store"))
        both = ErrorPages((("503", (*specs(_503="<p>")[0][1], *specs(_503="[]")[0][1])),))
        bodies = [self.body(both, accept=accept) for accept in (b"text/html", b"application/json")]
        self.assertEqual(bodies, [b"<p>\n", b"[]\n"])

    def test_places_are_known(self) -> None:
        """Every name that can be written stands for something."""
        pages = ErrorPages(specs(_503=".".join(f"{{{name}}}" for name in PLACES)))
        self.assertEqual(self.body(pages), ".".join(map(place, PLACES)).encode() + b"\n")


class Shown(HttpCase):
    """What a client gets."""

    def test_page(self) -> None:
        """Instead of the short page, on a connection that goes on; the record has its number."""
        text = "<i>{status} {reason}, {message} {id} {listener} {client}</i>"
        self.listen(2, http=HttpSpec(error_page=specs(_502=text)), pool={"retries": 0})
        client = self.client(GET * 2)
        said = self.heard(client)
        ids = [record.unique_id for record in self.notebook.requests]
        self.assertEqual((len({*ids}), {len(one) for one in ids}), (2, {16}))
        for number in ids:
            answer = parse_answer(said, Memory(Lines()))
            assert answer is not None and answer.said.declared is not None
            self.assertEqual((answer.status, answer.said.persistent), (502, True))
            names = [field[0] for field in answer.said.fields]
            self.assertEqual(names, [b"date", b"cache-control", b"content-type"])
            end = answer.took + answer.said.declared
            body, said = said[answer.took : end], said[end:]
            text = f"<i>502 Bad Gateway, The server gave no valid answer. {number} front 10.9.9.9</i>\n"
            self.assertEqual(body.decode(), text)
        self.assertEqual(said, b"")
        self.over()

    def test_head(self) -> None:
        """A HEAD is told how long it would be, and no more."""
        self.listen(2, http=HttpSpec(error_page=specs(_5xx="Sorry")), pool={"retries": 0})
        said = self.heard(self.client(GET.replace(b"GET", b"HEAD")))
        self.assertTrue(said.startswith(b"HTTP/1.1 502 Bad Gateway\r\n"))
        self.assertTrue(said.endswith(b"Content-Length: 6\r\n\r\n"))
        self.over()

    def test_malformed(self) -> None:
        """Who says what cannot be read gets a page, too; it may be that of its class."""
        self.listen(http=HttpSpec(error_page=specs(_4xx="No: {status}")))
        said = self.heard(self.client(b"GET / HTTP/1.1\r\n\r\n"))
        self.assertTrue(said.endswith(b"\r\n\r\nNo: 400\n"))
        self.assertEqual(self.outcomes(), [(400, Reason.REQUEST_MALFORMED)])
        self.assertEqual(self.the_request().unique_id, "")
        self.over()

    def test_program(self) -> None:
        """Without a page of the operator's, programs get a problem of RFC 9457."""
        self.listen(2, pool={"retries": 0})
        said = self.heard(self.client(GET[:-2] + JSON + b"\r\n\r\n"))
        head, _, body = said.partition(b"\r\n\r\n")
        self.assertIn(b"\r\nContent-Type: application/problem+json\r\n", head)
        self.assertEqual(json.loads(body)["title"], "Bad Gateway")
        self.over()


class OnRoutes(RoutedCase):
    """Where each request takes its route."""

    def test_routes(self) -> None:
        """A route has pages of its own; what it has none for is its listener's; a redirect has none."""
        self.routes(
            route("a", "", {"path": ("/a",)}, respond=RespondSpec(404), error_page=specs(_404="of a")),
            route("b", "", {"path": ("/b",)}, respond=RespondSpec(404, "its own")),
            route("c", "", {"path": ("/c",)}, respond=RespondSpec(410), error_page=specs(_404="of c")),
            route("d", "", {"path": ("/d",)}, respond=RespondSpec(200), error_page=specs(_404="of d")),
            http=HttpSpec(error_page=specs(_4xx="of the listener {id}")),
            pool="",
        )
        client = self.client()
        bodies = []
        for target in (b"/a", b"/b", b"/c", b"/d", b"/e"):
            self.say(client, self.get(target))
            bodies.append(self.heard(client).partition(b"\r\n\r\n")[2])
        ids = [record.unique_id for record in self.notebook.requests]
        self.assertEqual([bool(one) for one in ids], [False, False, True, False, True])
        self.assertEqual(bodies[:2], [b"of a\n", b"its own\n"])
        self.assertEqual(bodies[2], f"of the listener {ids[2]}\n".encode())
        self.assertIn(b"<h1>OK</h1>", bodies[3])
        self.assertEqual(bodies[4], f"of the listener {ids[4]}\n".encode())
        self.over()
