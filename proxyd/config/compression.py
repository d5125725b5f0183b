"""
Which answers are compressed, and how?  ``compression =`` of a listener with ``protocol = http``, or a route.

`proxyd.policy.encoding` decides of each answer, `proxyd.frontends.http.recoding` does it.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import ClassVar, Optional, Sequence

from attrs import frozen

from proxyd.config.bandwidth import Size
from proxyd.config.options import Count, Fail, Flag, Form, OneWord, Option, Percent, parameters, unknown
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

GZIP, BR, ZSTD = "gzip", "br", "zstd"

# Of those that are not of the standard library: the module, and the package that it is in.
LIBRARIES = {BR: ("brotli", "brotli"), ZSTD: ("zstandard", "zstandard")}

ENCODINGS = (GZIP, BR, ZSTD)

EXTRA = "proxyd[compression]"

OFF = "off"

TYPES = (
    "text/*",
    "*+json",
    "*+xml",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/wasm",
    "font/ttf",
    "font/otf",
)

_TYPE = re.compile(r"[a-z0-9!#$&^_.-]+/(?:\*|[a-z0-9!#$&^_.+-]+)|\*\+[a-z0-9]+", re.ASCII)


@frozen
class CompressionSpec:
    """
    What is asked of compression: ``encodings`` in our order of preference, none if there is to be none.

    ``types`` are media types in lower case, ``type/*`` and ``*+suffix`` among them; ``min_size`` is bytes,
    ``max_cpu`` per cent of a core.  With ``decompress`` what a server has encoded is decoded for those who
    cannot take that.
    """

    encodings: tuple[str, ...] = ()
    gzip_level: int = 1
    br_level: int = 2
    zstd_level: int = 3
    min_size: int = 1024
    types: tuple[str, ...] = TYPES
    max_cpu: int = 50
    decompress: bool = False

    def level(self, encoding: str) -> int:
        """How hard it is tried."""
        return {GZIP: self.gzip_level, BR: self.br_level, ZSTD: self.zstd_level}[encoding]


@frozen
class MediaTypes(OneWord):
    """Media types with commas between them."""

    shape: ClassVar[str] = "media types with commas between them, `text/*` and `*+json` among them"

    def read(self, word: Word) -> tuple[str, ...]:
        found = tuple(part.lower() for part in word.text.split(","))
        for part in found:
            if not _TYPE.fullmatch(part):
                raise Invalid(f"{quoted(part)} is not a media type; write text/* or *+json, for example")
        return found


class Compression(Form):
    """``zstd br gzip min_size=1k``, or ``off``."""

    shape: ClassVar[str] = (
        "one or more of `gzip`, `br` and `zstd`, or `off`; the first that a client likes best is taken"
    )
    # Levels are bounded so that 32 KiB, which is what is read at once, take no longer than some 3 ms.
    parameters: ClassVar[tuple[Option, ...]] = (
        Option("gzip_level", Count(1, 9), "How hard gzip tries.", "gzip_level=5", default="1"),
        Option("br_level", Count(0, 6), "How hard br tries.", "br_level=4", default="2"),
        Option("zstd_level", Count(1, 9), "How hard zstd tries.", "zstd_level=6", default="3"),
        Option(
            "min_size", Size(), "What is known to be shorter stays as it is.", "min_size=256", default="1k"
        ),
        Option(
            "types",
            MediaTypes(),
            "Answers of these types are compressed.",
            "types=text/html,application/json",
            default=",".join(TYPES),
        ),
        Option(
            "max_cpu",
            Percent(1, 100),
            "So much of a core compression may take here; above that, and while the event loop runs late, "
            "answers that begin stay as they are. `100%` is always.",
            "max_cpu=20%",
            default="50%",
        ),
        Option(
            "decompress",
            Flag(),
            "What the server has encoded is decoded for clients that cannot take that.",
            "decompress",
            otherwise="it is passed on as it is",
        ),
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[CompressionSpec]:
        names = [word for word in words if "=" not in word.text and word.text != "decompress"]
        given = parameters([word for word in words if word not in names], self.parameters, fail)
        if any(word.text == OFF for word in names):
            if len(words) > 1:
                fail(words[0].line, "off stands alone")
            return CompressionSpec()
        encodings: dict[str, None] = {}
        for word in names:
            if word.text not in ENCODINGS:
                fail(word.line, unknown(word.text, (*ENCODINGS, OFF)))
            elif word.text in encodings:
                fail(word.line, f"{quoted(word.text)} is given twice")
            elif not can(word.text):
                package = LIBRARIES[word.text][1]
                fail(
                    word.line, f"{word.text} needs the package {package}, which is not installed; see {EXTRA}"
                )
            encodings[word.text] = None
        if given is None:
            return None
        for encoding in ENCODINGS:
            if f"{encoding}_level" in given and encoding not in encodings:
                fail(words[0].line, f"{encoding}_level is for {encoding}, which is not among the encodings")
        if not encodings and "decompress" not in given:
            fail(words[0].line, "names no encoding; write zstd br gzip, for example")
        return CompressionSpec(tuple(encodings), **given)


def can(encoding: str) -> bool:
    """Whether the library for an encoding is there."""
    if encoding not in LIBRARIES:
        return True
    try:
        import_module(LIBRARIES[encoding][0])
    except ImportError:
        return False
    return True


OPTION = Option(
    "compression",
    Compression(),
    "With `protocol = http`: answers are compressed for clients that take that (Accept-Encoding, RFC 9110 "
    "12.5.3), but those with `no-transform`, parts (206), and what is encoded already. Who puts secrets and "
    "what strangers may choose into one page should not have it compressed under TLS (BREACH). `br` and "
    f"`zstd` need `pip install '{EXTRA}'`, which makes `gzip` faster, too. A route that has this "
    "goes by it alone.",
    "compression = zstd br gzip gzip_level=5",
    otherwise="answers are passed on as they are",
)
