"""Which clients are to come back to the server that they had?  The ``affinity =`` of a pool."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Optional, Sequence

from attrs import field, fields_dict, frozen

from proxyd.config.address import file_path
from proxyd.config.files import read_small
from proxyd.config.options import (
    Choice,
    Count,
    Duration,
    Fail,
    Flag,
    Form,
    OneWord,
    Option,
    Secret,
    parameters,
    unknown,
)
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted
from proxyd.errors import Problem

SOURCE, VIA, SNI, TLS_SESSION, RDP_COOKIE = "source", "via", "sni", "tls_session", "rdp_cookie"
COOKIE, LEARNED_COOKIE = "cookie", "learned_cookie"
KEYS = (SOURCE, VIA, SNI, TLS_SESSION, RDP_COOKIE, COOKIE, LEARNED_COOKIE)

OF_THE_HELLO = (SNI, TLS_SESSION)  # what a ClientHello has to be read for
OF_REQUESTS = (COOKIE, LEARNED_COOKIE)  # what is in requests, and in answers

FILE = "file:"
SHORTEST_SECRET = 16  # bytes: who has a cookie can try as many secrets as it likes

STRICT, LAX, NONE = "strict", "lax", "none"

_ENTRIES = re.compile(r"([0-9]{1,9})([km]?)", re.ASCII)
_UNITS = {"": 1, "k": 1024, "m": 1024**2}
_MOST = 10 * _UNITS["m"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)  # RFC 6265, 4.1.1
_PATH = re.compile(r"/[!-:<-~]{0,200}", re.ASCII)


@frozen
class CookieSpec:
    """
    The cookie called ``name``, which the server gives, or we do; all else is of ours.

    ``secret`` is what it is sealed with, or ``secret_path`` of the file that has that; with neither, each
    process has its own.  Browsers bring it to paths below ``path``, for ``max_age`` seconds or if that is 0
    until they are closed, by TLS alone if it is ``secure`` or was given so, and from other sites as
    ``same_site`` says.
    """

    name: str
    secret: str = field(default="", repr=False)
    secret_path: str = ""
    path: str = "/"
    max_age: int = 0
    same_site: str = LAX
    secure: bool = False


@frozen
class AffinitySpec:
    """
    What clients are remembered by, how many, and for how many seconds after their last connection.

    ``prefix4`` and ``prefix6`` are bits of an address; ``cookie`` is which, where it is one.
    """

    key: str
    ttl: float = 1800.0
    size: int = 100 * 1024
    prefix4: int = 32
    prefix6: int = 64
    cookie: Optional[CookieSpec] = None


class Entries(OneWord):
    """A number of entries, as 5000, 100k or 1m; HAProxy's units."""

    shape: ClassVar[str] = "a whole number up to 10m; `k` is 1024 of them, `m` 1024 `k`"

    def read(self, word: Word) -> int:
        found = _ENTRIES.fullmatch(word.text)
        size = int(found[1]) * _UNITS[found[2]] if found else 0
        if not 1 <= size <= _MOST:
            raise Invalid(f"{quoted(word.text)} is not a number of entries, such as 5000 or 100k, up to 10m")
        return size


class CookieName(OneWord):
    """What a cookie is called."""

    shape: ClassVar[str] = "letters, digits and such of ASCII as `-` and `_`"

    def read(self, word: Word) -> str:
        if not _TOKEN.fullmatch(word.text):
            raise Invalid(f"{quoted(word.text)} is not the name of a cookie (RFC 6265 4.1.1)")
        return word.text


class Scope(OneWord):
    """The path that a cookie is for."""

    shape: ClassVar[str] = "a path, in ASCII and without `;`"

    def read(self, word: Word) -> str:
        if not _PATH.fullmatch(word.text):
            raise Invalid(f"{quoted(word.text)} is not the path of a cookie; it begins with /")
        return word.text


class CookieSecret(Secret):
    """What cookies are sealed with, or the file that has it: a text, and a path, of which one is empty."""

    shape: ClassVar[str] = (
        f"text of at least {SHORTEST_SECRET} letters, which no message repeats, or `file:PATH` for what is "
        "in that file"
    )

    def read(self, word: Word) -> tuple[str, str]:  # type: ignore[override]
        text = super().read(word)
        if text.startswith(FILE):
            name = text[len(FILE) :]
            if not name or name.endswith("/"):
                raise Invalid("names no file; write secret=file:/etc/proxyd/cookie.key, for example")
            return "", file_path(name, word)
        if len(text.encode("utf-8")) < SHORTEST_SECRET:
            raise Invalid(f"is shorter than {SHORTEST_SECRET} letters, and could be guessed")
        return text, ""


_TTL = Option(
    "ttl",
    Duration(),
    "A client that has not connected for so long is forgotten.",
    "ttl=8h",
    default="30m",
)
_SIZE = Option(
    "size",
    Entries(),
    "So many are remembered; then the one that has been away for longest makes room. An entry takes some "
    "200 bytes of memory, with a long name more.",
    "size=1m",
    default="100k",
)
_PREFIX4 = Option(
    "prefix4",
    Count(1, 32),
    "With `source` and `via`, IPv4 addresses that begin with the same bits, so many, are one client.",
    "prefix4=24",
    default="32",
)
_PREFIX6 = Option(
    "prefix6",
    Count(1, 128),
    "The same of IPv6. A customer is given at least a /64, and changes addresses within it.",
    "prefix6=56",
    default="64",
)

_NAME = Option(
    "name",
    CookieName(),
    "What the cookie is called; `cookie` and `learned_cookie` need it. Pools that browsers ask under one "
    "host need different ones.",
    "name=JSESSIONID",
    otherwise="it must be given",
)
_SECRET = Option(
    "secret",
    CookieSecret(),
    "What the value of a `cookie` is sealed with. Proxies beside each other need the same.",
    "secret=file:/etc/proxyd/cookie.key",
    otherwise="one that is made at the start, so that after a restart clients are spread anew",
)
_PATH_OPTION = Option(
    "path",
    Scope(),
    "Browsers bring a `cookie` with requests for this path and all below it.",
    "path=/app",
    default="/",
)
_MAX_AGE = Option(
    "max_age",
    Duration(),
    "Browsers keep a `cookie` for so long from the answer on that has brought it.",
    "max_age=8h",
    otherwise="until they are closed",
)
_SAME_SITE = Option(
    "same_site",
    Choice((STRICT, LAX, NONE)),
    "Whether browsers bring a `cookie` with what pages of other sites ask for; with `lax`, they do if it was "
    "a link that was followed. `none` has an effect over TLS alone.",
    "same_site=strict",
    default=LAX,
)
_SECURE = Option(
    "secure",
    Flag(),
    "Browsers bring a `cookie` over TLS alone, wherever they got it: for where a proxy before this one ends "
    "TLS.",
    "secure",
    otherwise="so it is with a `cookie` that was given over TLS",
)

PARAMETERS = (
    _TTL,
    _SIZE,
    _PREFIX4,
    _PREFIX6,
    _NAME,
    _SECRET,
    _PATH_OPTION,
    _MAX_AGE,
    _SAME_SITE,
    _SECURE,
)

_ADDRESSES = (_PREFIX4, _PREFIX6)
SEALED = (_SECRET, _PATH_OPTION, _MAX_AGE, _SAME_SITE, _SECURE)

# What each key heeds.
_HEEDED = {
    SOURCE: (_TTL, _SIZE, *_ADDRESSES),
    VIA: (_TTL, _SIZE, *_ADDRESSES),
    SNI: (_TTL, _SIZE),
    TLS_SESSION: (_TTL, _SIZE),
    RDP_COOKIE: (_TTL, _SIZE),
    COOKIE: (_NAME, *SEALED),
    LEARNED_COOKIE: (_TTL, _SIZE, _NAME),
}

# Why it does not heed the others.
_WHY_NOT = {
    **{option.name: "is of addresses" for option in _ADDRESSES},
    **{option.name: "is of a cookie that we give" for option in SEALED},
    _NAME.name: "is of cookies",
    _TTL.name: "is of clients that we remember",
    _SIZE.name: "is of clients that we remember",
}


class Affinity(Form):
    """``KEY ttl=30m size=100k``, with the parameters that this key heeds."""

    parameters: ClassVar[tuple[Option, ...]] = PARAMETERS

    @property
    def shape(self) -> str:  # type: ignore[override]
        return f"{Choice(KEYS).shape}, then those of the parameters below that it heeds"

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[AffinitySpec]:
        key, *rest = words
        if key.text not in KEYS:
            early = key.text.partition("=")[0] in [option.name for option in PARAMETERS]
            needed = f"begins with what clients are remembered by; write source {key.text}, for example"
            fail(key.line, needed if early else unknown(key.text, KEYS))
            return None
        heeded = _HEEDED[key.text]
        foreign = [word for word in rest if _name(word) in [o.name for o in PARAMETERS if o not in heeded]]
        for word in foreign:
            fail(word.line, f"{_name(word)} {_WHY_NOT[_name(word)]}, and {key.text} does not go by these")
        values = parameters([word for word in rest if word not in foreign], heeded, fail)
        if values is None or foreign:
            return None
        if key.text in OF_REQUESTS:
            return self._with_cookie(key, values, fail)
        return AffinitySpec(key.text, **values)

    def _with_cookie(self, key: Word, values: dict[str, Any], fail: Fail) -> Optional[AffinitySpec]:
        if "name" not in values:
            fail(key.line, f"needs the name of the cookie; write {key.text} name=SRV, for example")
            return None
        own = {name: values.pop(name) for name in fields_dict(CookieSpec) if name in values}
        own["secret"], own["secret_path"] = own.get("secret", ("", ""))
        if "max_age" in own:
            own["max_age"] = max(1, int(own["max_age"]))
        return AffinitySpec(key.text, cookie=CookieSpec(**own), **values)


def read_secret(path: str, problems: list[Problem]) -> bytes:
    """What cookies are sealed with, of a file; what is wrong with it goes to ``problems``."""
    before = len(problems)
    secret = read_small(path, problems).strip()
    if len(secret) < SHORTEST_SECRET and len(problems) == before:
        problems.append(Problem(path, 0, f"is shorter than {SHORTEST_SECRET} bytes, and could be guessed"))
    return secret


def _name(word: Word) -> str:
    return word.text.partition("=")[0]
