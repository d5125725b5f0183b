"""What did the operator ask of HTTP?  Options of a listener with ``protocol = http``, and of its pools."""

from __future__ import annotations

import re
from typing import Any, Iterator, Mapping, Optional

from attrs import fields_dict, frozen

from proxyd.config import compression, errorpage, static
from proxyd.config.bandwidth import Size
from proxyd.config.compression import CompressionSpec
from proxyd.config.errorpage import ErrorPageSpecs, error_page
from proxyd.config.options import Choice, Count, Duration, OneWord, Option, Reference, Several
from proxyd.config.proxyprotocol import Network, NetworkForm
from proxyd.config.reader import Word
from proxyd.config.static import StaticSpec
from proxyd.config.tls import PASSTHROUGH
from proxyd.config.words import Invalid, quoted

HTTP = "http"

ALPN = (b"h2", b"http/1.1")  # what is spoken within TLS, in our order of preference

X_FORWARDED_FOR, FORWARDED, BOTH, OFF = "x-forwarded-for", "forwarded", "both", "off"
TELLS = (X_FORWARDED_FOR, FORWARDED, BOTH, OFF)

KEEP, DROP, REPLACE = "keep", "drop", "replace"
REJECT = "reject"

_PSEUDONYM = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}", re.ASCII)  # RFC 9110, 7.6.3


@frozen
class HttpSpec:
    """
    What a listener asks of HTTP: times in seconds, ``max_header`` in bytes of a head, ``max_body`` of a body.

    ``forwarded`` is how servers are told of the client, ``trusted`` whose own word for that is believed.
    ``via`` is what we are called, "" if nobody is told.  ``cache`` is where answers are
    stored, "" for nowhere.
    """

    header_timeout: float = 15.0
    keepalive_timeout: float = 60.0
    max_requests: int = 1000
    max_header: int = 16 * 1024
    max_fields: int = 100
    max_body: int = 0
    forwarded: str = X_FORWARDED_FOR
    trusted: tuple[Network, ...] = ()
    server_header: str = KEEP
    via: str = "proxyd"
    encoded_slashes: str = REJECT
    cache: str = ""
    error_page: ErrorPageSpecs = ()
    compression: Optional[CompressionSpec] = None
    root: Optional[StaticSpec] = None


@frozen
class Pseudonym(OneWord):
    """What a proxy calls itself in Via, or ``off``."""

    shape = "a name of letters, digits and `-._`, or `off`"

    def read(self, word: Word) -> str:
        if not _PSEUDONYM.fullmatch(word.text):
            raise Invalid(f"{quoted(word.text)} is not {self.shape}")
        return "" if word.text == OFF else word.text


OPTIONS = (
    Option(
        "header_timeout",
        Duration(),
        "With `protocol = http`: so long a client may take for the head of a request, and a second more for "
        "every 500 bytes of it (Apache's RequestReadTimeout); then it is answered 408. For the first one the "
        "time is counted from when the client came, or its TLS stood; who says nothing until then is closed "
        "without a word.",
        "header_timeout = 5s",
        default="15s",
    ),
    Option(
        "keepalive_timeout",
        Duration(),
        "With `protocol = http`: so long a client's connection is kept while it asks for nothing more.",
        "keepalive_timeout = 15s",
        default="60s",
    ),
    Option(
        "max_requests",
        Count(1, 1_000_000),
        "With `protocol = http`: after so many requests a client's connection is closed, as nginx does, so "
        "that clients come to be spread anew.",
        "max_requests = 100",
        default="1000",
    ),
    Option(
        "max_header",
        Size(),
        "With `protocol = http`: so long the head of a request or of an answer may be; else a client is "
        "answered 431, or 414 if its first line alone is longer, and what a server says becomes 502.",
        "max_header = 32k",
        default="16k",
    ),
    Option(
        "max_fields",
        Count(1, 1000),
        "With `protocol = http`: so many fields a head may have.",
        "max_fields = 200",
        default="100",
    ),
    Option(
        "max_body",
        Size(),
        "With `protocol = http`: so long the body of a request may be that goes to a server; a longer one is "
        "answered 413 (`body_too_large`). A `[route]` may have its own.",
        "max_body = 10M",
        otherwise="no bound",
    ),
    Option(
        "forwarded",
        Choice(TELLS),
        "With `protocol = http`: how servers are told who the client is: by X-Forwarded-For and "
        "X-Forwarded-Proto, by Forwarded (RFC 7239), by both, or not at all. What clients say of that "
        "themselves is taken away, unless they are `trusted`.",
        "forwarded = both",
        default=X_FORWARDED_FOR,
    ),
    Option(
        "trusted",
        Several(NetworkForm()),
        "With `protocol = http`: proxies before this one, whose X-Forwarded-… and Forwarded are passed on, "
        "with their own addresses added. A request of theirs is that of the client whom they tell of: the "
        "last address in X-Forwarded-For (with `forwarded = forwarded`, in Forwarded) that is not among "
        "these networks. Routes, limits, `balance`, pages and logs go by it, and the log has the proxy as "
        "`via=`; what is decided when a connection comes (`allow`, `deny`, bans, the limits of connections) "
        "goes by the proxy.",
        "trusted = 10.0.0.0/8",
        otherwise="nobody is believed",
    ),
    Option(
        "server_header",
        Choice((KEEP, REPLACE, DROP)),
        "With `protocol = http`: what becomes of the Server field of answers. `replace` makes it `proxyd`.",
        "server_header = drop",
        default=KEEP,
    ),
    Option(
        "via",
        Pseudonym(),
        "With `protocol = http`: what this proxy calls itself in Via (RFC 9110, 7.6.3), towards servers and "
        "clients; `off` leaves Via as it is. Some servers do not compress for who comes with Via (nginx's "
        "`gzip_proxied`).",
        "via = edge-1",
        default="proxyd",
    ),
    Option(
        "encoded_slashes",
        Choice((REJECT, KEEP)),
        "With `protocol = http`, and routes that go by the path: what becomes of a path with a slash or a "
        "backslash that is escaped (%2F, %5C), or with a backslash, for some servers part it there and "
        "others do not (Apache's AllowEncodedSlashes). `reject` answers 400; with `keep` it is a letter "
        "like others, and servers must take it for one.",
        "encoded_slashes = keep",
        default=REJECT,
    ),
    Option(
        "cache",
        Reference("cache"),
        "With `protocol = http`: where answers are stored, and found again before a server is asked. Paths "
        "are then brought into their normal form, as with routes that go by the path.",
        "cache = pages",
        otherwise="nothing is stored",
    ),
    error_page(
        "With `protocol = http`: what clients are shown with this status, or one of this class (`5xx`), if "
        "it is said here and not by a server. Places are escaped as the content wants it: `{message}` is "
        "our sentence for it, and `{id}` is a number that the access log has as well. Files are read when "
        "the daemon starts; what they hold is called what their names say, by their ends.",
    ),
    compression.OPTION,
    static.OPTION,
)

POOL_OPTIONS = (
    Option(
        "response_timeout",
        Duration(),
        "For listeners with `protocol = http`: so long a server may take until its answer begins, counted "
        "from the end of the request; then the client is answered 504.",
        "response_timeout = 5m",
        default="60s",
    ),
    Option(
        "max_idle_connections",
        Count(0, 10_000),
        "For listeners with `protocol = http`: so many connections to each server are kept open for later "
        "requests. They do not count as its connections. With `proxy_protocol` each is for the client alone "
        "of which the server was told, and with `sni=client` of `tls` for one name.",
        "max_idle_connections = 64",
        default="16",
    ),
    Option(
        "idle_connection_timeout",
        Duration(),
        "For listeners with `protocol = http`: so long they are kept; it should be less than what the "
        "servers themselves wait.",
        "idle_connection_timeout = 4s",
        default="30s",
    ),
)


def asked(given: dict[str, Any]) -> dict[str, Any]:
    """Take the values that an `HttpSpec` is made of out of those of a listener."""
    found = {name: given.pop(name) for name in fields_dict(HttpSpec) if name in given}
    if "error_page" in found:
        found["error_page"] = tuple(found["error_page"].items())
    return found


def contradictions(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What does not go together in a listener: each an option, and what is wrong with it."""
    yield from errorpage.contradictions(given)
    if given.get("protocol") == HTTP:
        if "root" in given and "pool" in given:
            yield "root", "cannot be beside pool; a route can have either"
        if given.get("tls") == PASSTHROUGH:
            yield "tls", "passthrough leaves nothing to read; it is for a listener with protocol = tcp"
    elif "protocol" in given:
        for name in fields_dict(HttpSpec):
            if name in given:
                title = f"{name} {next(iter(given[name]))}" if isinstance(given[name], dict) else name
                yield title, "is for a listener with protocol = http"
