"""
Is an answer compressed for a client, and by which coding?

RFC 9110: Accept-Encoding (12.5.3), Vary (12.5.5), ETag (8.8.3); RFC 9111, 5.2: no-transform.  What is changed
on the way is another representation, so a strong validator of the origin would lie about it: it becomes a
weak one, as in nginx, and where a client comes back with that the origin is asked for both.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Optional, Sequence

from attrs import frozen

from proxyd.config.compression import BR, GZIP, ZSTD, CompressionSpec
from proxyd.wire.http1 import Answer, Request
from proxyd.wire.httpfields import Field, parse_field, tokens

IDENTITY = "identity"

_ALIASES = {"x-gzip": GZIP}  # RFC 9110, 8.4.1.3

_DECODED = (GZIP, BR, ZSTD)

_MOST = 50  # codings that are looked at

_ITEM = re.compile(
    r"([!#$%&'*+.^_`|~0-9a-z-]+)(?:[ \t]*;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
).fullmatch

# What is no whole answer with a body, or no answer that anybody asked for.
_NEVER = frozenset({204, 205, 206, 304})

# What vouches for the very bytes (RFC 9530, RFC 9421, RFC 1864): they must stay as they are.
_INTEGRITY = frozenset(
    {b"digest", b"content-digest", b"repr-digest", b"content-md5", b"signature", b"content-range"}
)

VARY = parse_field(b"Vary: Accept-Encoding")

_CONTENT_ENCODING = {name: parse_field(b"Content-Encoding: " + name.encode()) for name in _DECODED}


@lru_cache(maxsize=256)
def qualities(accept: bytes) -> dict[str, float]:
    """What a client thinks of each coding that it names, from 0 to 1; what cannot be read is not named."""
    found: dict[str, float] = {}
    for part in accept.decode("latin-1").lower().split(",", _MOST)[:_MOST]:
        match = _ITEM(part.strip(" \t"))
        if match is not None:
            name = _ALIASES.get(match.group(1), match.group(1))
            found.setdefault(name, float(match.group(2) or 1))
    return found


def choose(accept: Optional[bytes], offered: Sequence[str]) -> str:
    """
    The coding of those offered that a client likes best, the first of these if there are several.

    Or "": it takes none, would rather have none, or has said nothing, and then it might not expect one.
    """
    if accept is None:
        return ""
    liked = qualities(accept)
    others = liked.get("*", 0.0)
    best, most = "", 0.0
    for name in offered:
        quality = liked.get(name, others)
        if quality > most:
            best, most = name, quality
    return best if most >= liked.get(IDENTITY, 0.0) else ""


def accepts(accept: Optional[bytes], coding: str) -> bool:
    """Whether a client takes a coding; one that has said nothing may take any, but hardly one does."""
    if accept is None:
        return False
    liked = qualities(accept)
    return liked.get(coding, liked.get("*", 0.0)) > 0


@frozen
class Decision:
    """
    What becomes of an answer: it is encoded by ``encodes``, decoded from ``decodes``, or, with neither, it is
    only told that it could have been.
    """

    encodes: str = ""
    decodes: str = ""

    @property
    def recodes(self) -> bool:
        """Whether the body is another one."""
        return bool(self.encodes or self.decodes)

    @property
    def coding(self) -> str:
        """What it is put in, or `IDENTITY` where it is taken out of one; "" if neither."""
        return self.encodes or (IDENTITY if self.decodes else "")

    def fields(self, fields: Sequence[Field]) -> list[Field]:
        """The fields of the answer as they leave."""
        varies = False
        out = []
        for field in fields:
            name = field[0]
            if name == b"vary":
                named = tokens(field[1]) or ()
                varies = varies or b"accept-encoding" in named or b"*" in named
            elif self.recodes:
                if name == b"etag":
                    field = weak(field)
                elif name in (b"content-encoding", b"accept-ranges"):
                    continue  # parts of what is made on the way cannot be asked for
            out.append(field)
        if not varies:
            out.append(VARY)
        if self.encodes:
            out.append(_CONTENT_ENCODING[self.encodes])
        return out


VARIES = Decision()
_ENCODED = {name: Decision(encodes=name) for name in _DECODED}
_PLAIN = {name: Decision(decodes=name) for name in _DECODED}


def decide(spec: CompressionSpec, answer: Answer, request: Request) -> Optional[Decision]:
    """What becomes of an answer to a request; None if nothing does."""
    said = answer.said
    if answer.status == 304:
        return _revalidated(answer, request)
    if answer.status in _NEVER or said.declared == 0:
        return None
    encoded = media = b""
    for name, value, _, _ in said.fields:
        if name == b"content-encoding":
            encoded = encoded + b"," + value if encoded else value
        elif name == b"content-type":
            media = value
        elif name in _INTEGRITY or (name == b"cache-control" and not _may_be_transformed(value)):
            return None
    accept = None
    for name, value, _, _ in request.said.fields:
        if name == b"accept-encoding":
            accept = value if accept is None else accept + b"," + value
        elif name == b"cache-control" and not _may_be_transformed(value):
            return None
    if encoded and encoded.lower() != b"identity":
        return _decoded(spec, encoded, accept)
    if not spec.encodings:
        return None
    if (said.declared is not None and said.declared < spec.min_size) or not fits(media, spec.types):
        return None
    if not request.said.minor:
        return VARIES  # HTTP/1.0 has no end for what is of unknown length, as in nginx
    coding = choose(accept, spec.encodings)
    return _ENCODED[coding] if coding else VARIES


def _decoded(spec: CompressionSpec, encoded: bytes, accept: Optional[bytes]) -> Optional[Decision]:
    """What a server has encoded is decoded for those who cannot take it."""
    name = encoded.decode("latin-1").lower()
    name = _ALIASES.get(name, name)
    if not spec.decompress or name not in _DECODED:
        return None
    return VARIES if accepts(accept, name) else _PLAIN[name]


@frozen
class _Revalidated(Decision):
    """A 304 to a client that has a weak validator: it is the one that it has."""

    def fields(self, fields: Sequence[Field]) -> list[Field]:
        return [weak(field) if field[0] == b"etag" else field for field in super().fields(fields)]


_REVALIDATED = _Revalidated()


def _revalidated(answer: Answer, request: Request) -> Optional[Decision]:
    for name, value, _, _ in answer.said.fields:
        if name == b"etag" and value[:1] == b'"':
            asked = [field[1] for field in request.said.fields if field[0] == b"if-none-match"]
            return _REVALIDATED if any(b"W/" + value in each for each in asked) else None
    return None


def weak(field: Field) -> Field:
    """A validator of what was changed on the way: weak, if it was not yet."""
    return parse_field(b"ETag: W/" + field[1]) if field[1][:1] == b'"' else field


_WEAK = re.compile(rb'W/("[\x21\x23-\x7e\x80-\xff]*")').findall


def for_origin(fields: Sequence[Field]) -> Optional[list[Field]]:
    """
    The fields of a request in which a client has named weak validators in If-None-Match: the strong ones, of
    which we may have made them, are named as well.  None if there are no such.
    """
    out, changed = [], False
    for field in fields:
        if field[0] == b"if-none-match":
            strong = _WEAK(field[1])
            if strong:
                changed = True
                field = parse_field(b"If-None-Match: " + b", ".join([field[1], *strong]))
        out.append(field)
    return out if changed else None


@lru_cache(maxsize=256)
def _may_be_transformed(cache_control: bytes) -> bool:
    return b"no-transform" not in cache_control.lower()


@lru_cache(maxsize=1024)
def fits(media: bytes, types: tuple[str, ...]) -> bool:
    """Whether a value of Content-Type is of one of these types."""
    name = media.partition(b";")[0].strip(b" \t").lower().decode("latin-1")
    kind, _, rest = name.partition("/")
    suffix = rest.rpartition("+")[2]
    return bool(rest) and (name in types or f"{kind}/*" in types or ("+" in rest and f"*+{suffix}" in types))
