"""Can an operator write what clients are shown, and is it said what cannot be shown?"""

from __future__ import annotations

from proxyd.config.errorpage import PLACES, ErrorPageSpec
from proxyd.config.template import template
from tests.config.ini import MINIMAL, IniCase

OVER_HTTP = MINIMAL.replace("pool = p\n", "pool = p\nprotocol = http\n{}\n")
ROUTE = "[route r]\nlistener = l\npath = /x\npool = p\n"


class ErrorPages(IniCase):
    """``error_page`` of listeners and routes."""

    def test_written(self) -> None:
        """A text, whose first letter says what it is, or a file, whose end does; or one of each."""
        for text, pages in (
            ('"Back soon: {message}"', [ErrorPageSpec(template("Back soon: {message}", PLACES))]),
            (
                '"<h1>{status} {reason}</h1>"',
                [
                    ErrorPageSpec(
                        template("<h1>{status} {reason}</h1>", PLACES), "", "text/html; charset=utf-8"
                    )
                ],
            ),
            (
                '\'{{"id": "{id}"}}\'',
                [ErrorPageSpec(template('{{"id": "{id}"}}', PLACES), "", "application/json")],
            ),
            (
                "file:e/503.html file:503.json",
                [
                    ErrorPageSpec(None, f"{self.folder}/e/503.html", "text/html; charset=utf-8"),
                    ErrorPageSpec(None, f"{self.folder}/503.json", "application/json"),
                ],
            ),
            ("file:sorry", [ErrorPageSpec(None, f"{self.folder}/sorry", "application/octet-stream")]),
        ):
            config = self.load(OVER_HTTP.format(f"error_page 503 = {text}"))
            self.assertEqual(config.listeners[0].http.error_page, (("503", tuple(pages)),), text)
        config = self.load(
            OVER_HTTP.format("error_page 5xx = a\nerror_page 404 = b") + ROUTE + "error_page 4xx = c\n"
        )
        (front,) = config.listeners
        self.assertEqual([name for name, _ in front.http.error_page], ["5xx", "404"])
        self.assertEqual([name for name, _ in front.routes[0].action.error_page], ["4xx"])

    def test_refused(self) -> None:
        """What is wrong is named."""
        for option, why in (
            (
                "error_page 503 = {x}",
                '{x}: "x" is not known; known here: status, reason, message, id, listener, client',
            ),
            (
                "error_page 503 = {status",
                '"{status" has a brace that is not closed; a brace itself is written twice',
            ),
            ("error_page 503 = file:", '"file:" names no file; write file:/etc/proxyd/503.html, for example'),
            ("error_page 503 = /etc/x", '"/etc/x" would be shown as it stands; write file:/etc/x for a file'),
            ("error_page 503 = Back soon", '"soon" is never shown: one that is not JSON stands before it'),
            ("error_page 503 = [] file:x.json", '"file:x.json" is never shown: JSON stands before it'),
            ("error_page 200 = a", '"200" is no status of a failure; write 503, or 5xx for all'),
            ("error_page 5x = a", '"5x" is no status of a failure; write 503, or 5xx for all'),
        ):
            title = option.partition(" =")[0]
            found = self.problems(OVER_HTTP.format(option))
            self.assertEqual(found, [f"proxy.ini:5: [listener l] {title}: {why}"], option)
        self.assertEqual(
            self.problems(OVER_HTTP.format("error_page = a")),
            [
                "proxy.ini:5: [listener l] error_page: needs a name; write error_page 503 = "
                "file:/etc/proxyd/503.html, for example"
            ],
        )
        (wrong,) = self.problems(OVER_HTTP.format("") + ROUTE + "error_page 301 = a\n")
        self.assertIn('[route r] error_page 301: "301" is no status of a failure', wrong)

    def test_for_http(self) -> None:
        """Whole connections have no pages."""
        text = MINIMAL.replace("pool = p\n", "pool = p\nprotocol = tcp\nerror_page 503 = a\n")
        (found,) = self.problems(text)
        self.assertIn("[listener l] error_page 503: is for a listener with protocol = http", found)
