"""What does ``compression =`` mean?"""

from __future__ import annotations

import sys
from typing import Optional
from unittest.mock import patch

from proxyd.config.compression import CompressionSpec, can
from tests.config.ini import IniCase

WEB = "[listener web]\nbind = tcp:80\nprotocol = http\npool = web\n{}[pool web]\nserver a = 10.0.0.1:80\n"


class CompressionTests(IniCase):
    def test_read(self) -> None:
        """Codings in our order of preference, and what else is asked of them; a route may have its own."""
        cases: tuple[tuple[str, Optional[CompressionSpec]], ...] = (
            ("", None),
            ("compression = gzip", CompressionSpec(("gzip",))),
            ("compression = off", CompressionSpec()),
            (
                "compression = zstd br gzip gzip_level=9 br_level=0 zstd_level=9 min_size=10 max_cpu=5%",
                CompressionSpec(("zstd", "br", "gzip"), 9, 0, 9, 10, max_cpu=5),
            ),
            (
                "compression = br types=Text/HTML,*+json,image/*",
                CompressionSpec(("br",), types=("text/html", "*+json", "image/*")),
            ),
            ("compression = decompress", CompressionSpec(decompress=True)),
        )
        for line, expected in cases:
            found = self.load(WEB.format(line and f"{line}\n"))
            self.assertEqual(found.listeners[0].http.compression, expected, line)
        route = "[route a]\nlistener = web\npool = web\ncompression = br\n"
        found = self.load(WEB.format("") + route)
        self.assertEqual(found.listeners[0].routes[0].action.compression, CompressionSpec(("br",)))

    def test_refused(self) -> None:
        """What cannot be done is refused with what would be right."""
        for text, problem in (
            ("deflate", '"deflate" is not known; known here: gzip, br, zstd, off'),
            ("gzip gzip", '"gzip" is given twice'),
            ("gzip off", "off stands alone"),
            ("off min_size=1k", "off stands alone"),
            ("min_size=1k", "names no encoding; write zstd br gzip, for example"),
            ("gzip br_level=3", "br_level is for br, which is not among the encodings"),
            ("gzip gzip_level=10", 'gzip_level: "10" is not a whole number, 1 to 9'),
            ("gzip types=html", 'types: "html" is not a media type; write text/* or *+json, for example'),
            ("gzip level=3", '"level" is not known; did you mean "br_level"?'),
        ):
            found = self.problems(WEB.format(f"compression = {text}\n"))
            self.assertEqual(found, [f"proxy.ini:5: [listener web] compression: {problem}"])

    def test_without_its_library(self) -> None:
        """A coding whose library is not installed is refused, with what would bring it."""
        with patch.dict(sys.modules, {"brotli": None}):
            self.assertEqual([can(name) for name in ("gzip", "br", "zstd")], [True, False, True])
            self.assertEqual(
                self.problems(WEB.format("compression = br gzip\n")),
                [
                    "proxy.ini:5: [listener web] compression: br needs the package brotli, which is not "
                    "installed; see proxyd[compression]"
                ],
            )

    def test_of_servers(self) -> None:
        """A page of ours is not compressed, so where a route has one it says so."""
        route = "[route a]\nlistener = web\nrespond = 404\ncompression = gzip\n"
        self.assertEqual(
            self.problems(WEB.format("") + route),
            ["proxy.ini:10: [route a] compression: is about a server, and with respond none is asked"],
        )
