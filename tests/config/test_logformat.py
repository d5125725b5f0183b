"""Is a format of the access log taken for what an operator means by it?"""

from __future__ import annotations

from proxyd.config.daemon import AccessLogSpec
from proxyd.config.logformat import MOST_PLACES, OF_CONNECTIONS, OF_REQUESTS
from proxyd.config.template import template
from tests.config.ini import MINIMAL, IniCase


class LogFormats(IniCase):
    """The parameters of ``access_log``."""

    def log(self, value: str) -> object:
        return self.load(f"{MINIMAL}[proxyd]\naccess_log = {value}\n").daemon.access_log

    def test_own(self) -> None:
        """A text between single quotes, with places; one for requests and one for connections."""
        text = '{client} "{method} {target}" {{{status}}} {request.User-Agent}'
        self.assertEqual(
            self.log(f"/a.log\n  format='{text}'\n  connections='{{id}} {{reason}}'"),
            AccessLogSpec(
                "/a.log",
                template(text, [*OF_REQUESTS, "request.User-Agent"]),
                template("{id} {reason}", OF_CONNECTIONS),
            ),
        )
        self.assertEqual(
            self.log("/a.log connections={client} format=combined"),
            AccessLogSpec("/a.log", "combined", template("{client}", OF_CONNECTIONS)),
        )

    def test_every_place(self) -> None:
        """All that the documents name can be written."""
        for name in OF_REQUESTS:
            self.log("/a.log format='{" + name + "}'")
        for name in OF_CONNECTIONS:
            self.log("/a.log connections='{" + name + "}'")

    def test_wrong(self) -> None:
        """What is wrong is said, with what is right."""
        for value, problem in [
            ("format=jsn", 'format: "jsn" is not known; did you mean "json"?'),
            ("format=own", 'format: "own" is not known; known here: text, json, combined'),
            ("'format={clent}'", 'format: {clent}: "clent" is not known; did you mean "client"?'),
            ("format={total:.3f}", "format: {total...}: a name stands alone between its braces"),
            (
                "format={status",
                'format: "{status" has a brace that is not closed; a brace itself is written twice',
            ),
            ("'format={{}}'", "format: \"{{}}\" says nothing; write '{client} {reason}', for example"),
            ("'format=\"{client}'", 'format: ""{client}" has a quote that is not closed'),
            ("format={client}é", 'format: "{client}é" has a letter that is not ASCII, as all of the log is'),
            (f"format={'{client}' * 65}", f"format: has 65 places; there may be {MOST_PLACES}"),
            (
                "connections={server_cn}",
                'connections: {server_cn}: "server_cn" is not known; did you mean "server_tcp"?',
            ),
            (
                "connections=json",
                "connections: \"json\" says nothing; write '{client} {reason}', for example",
            ),
            (
                "format={request.}",
                'format: {request.}: "request." is not known; did you mean "request.NAME"?',
            ),
            ("format={client} {status}", '"{status}" is not known; known here: format, connections'),
        ]:
            self.assertEqual(
                self.problems(f"{MINIMAL}[proxyd]\naccess_log = a {value}\n"),
                [f"proxy.ini:7: [proxyd] access_log: {problem}"],
            )
