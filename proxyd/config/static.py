"""
Which files are served without a server?  ``root =`` of a listener with ``protocol = http``, or of a route.

`proxyd.policy.static` says which file a path means, `proxyd.frontends.http.static` answers with it.
"""

from __future__ import annotations

import re
from typing import ClassVar, Optional, Sequence

from attrs import frozen

from proxyd.config.address import file_path
from proxyd.config.compression import ENCODINGS
from proxyd.config.options import Fail, Flag, Form, OneWord, Option, parameters, unknown
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

INDEX = ("index.html",)

_NAME = re.compile(r"[^/\x00-\x1f\x7f,.][^/\x00-\x1f\x7f,]*")


@frozen
class StaticSpec:
    """
    The folder ``path``, and what is served of it: ``index`` are the files that a folder is answered with,
    ``precompressed`` the codings for which there may be a file beside another one.
    """

    path: str
    index: tuple[str, ...] = INDEX
    precompressed: tuple[str, ...] = ()
    symlinks: bool = False
    dotfiles: bool = False


@frozen
class Names(OneWord):
    """Names of files with commas between them."""

    shape: ClassVar[str] = "names of files with commas between them"

    def read(self, word: Word) -> tuple[str, ...]:
        names = tuple(word.text.split(","))
        for name in names:
            if not _NAME.fullmatch(name):
                raise Invalid(f"{quoted(name)} is not the name of a file; write index.html, for example")
        return names


@frozen
class Codings(OneWord):
    """Codings with commas between them."""

    shape: ClassVar[str] = "one or more of `gzip`, `br` and `zstd`, with commas between them"

    def read(self, word: Word) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(word.text.split(",")))
        for name in names:
            if name not in ENCODINGS:
                raise Invalid(unknown(name, ENCODINGS))
        return names


class Static(Form):
    """``/srv/www index=index.html precompressed=br,gzip``."""

    shape: ClassVar[str] = "a folder, and how it is served"
    parameters: ClassVar[tuple[Option, ...]] = (
        Option(
            "index",
            Names(),
            "A folder is answered with the first of these files that it has; its own are never listed.",
            "index=index.html,index.htm",
            default="index.html",
        ),
        Option(
            "precompressed",
            Codings(),
            "Where the same file is there with `.gz`, `.br` or `.zst` behind its name, and is not older, "
            "clients that take that coding get it.",
            "precompressed=br,gzip",
            otherwise="such files are files like others",
        ),
        Option(
            "symlinks",
            Flag(),
            "Symbolic links below the folder are followed, wherever they lead.",
            "symlinks",
            otherwise="what they lead to is not there",
        ),
        Option(
            "dotfiles",
            Flag(),
            "What begins with a dot is served, too.",
            "dotfiles",
            otherwise="it is not there, but for `/.well-known/` (RFC 8615)",
        ),
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[StaticSpec]:
        first, *rest = words
        if "=" in first.text or first.text in ("symlinks", "dotfiles"):
            fail(first.line, f"{quoted(first.text)} is not a folder; write /srv/www, for example")
            return None
        given = parameters(rest, self.parameters, fail)
        return None if given is None else StaticSpec(file_path(first.text, first), **given)


OPTION = Option(
    "root",
    Static(),
    "With `protocol = http`: requests are answered with the files of this folder, and no server is asked: "
    "GET and HEAD, with conditions and parts (RFC 9110, 13 and 14). With a `rewrite` of the route it is the "
    "new path that is looked for.",
    "root = /srv/www precompressed=br,gzip",
    otherwise="servers answer",
)
