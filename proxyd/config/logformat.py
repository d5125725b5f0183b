"""
Which lines of the access log are written in a format of one's own, and what can stand in them?

Such a format is a text with places (`proxyd.config.template`); `proxyd.ops.logformat` writes the lines.
"""

from __future__ import annotations

import re
from typing import ClassVar, Mapping, Union

from attrs import frozen

from proxyd.config.options import OneWord, unknown
from proxyd.config.reader import Word
from proxyd.config.template import Template, template
from proxyd.config.words import Invalid, quoted

NAMED = ("text", "json", "combined")

REQUEST, RESPONSE = "request.", "response."

MOST_PLACES = 64  # a value is at most 500 letters long, so a line has a bound

_OF_BOTH = {
    "time": "when it began, as 2026-11-22T10:00:00.123Z",
    "time_common": "the same as 22/Nov/2026:10:00:00 +0000",
    "time_epoch": "the same as 1795341600.123, seconds since 1970",
    "listener": "the listener",
    "client": "the client's address, with its port",
    "client_address": "the client's address without its port",
    "via": "the proxy that has told of the client in a PROXY header",
    "pool": "the pool",
    "server": "the server that was asked last",
    "address": "its address",
    "chosen": "by what it was: balance, affinity, backup, panic, last_resort, retry or hedge",
    "route": "the route that was taken",
    "id": "what the server was told that the connection is called (PROXY protocol), or the client that its "
    "request is (error_page)",
    "tls": "version and cipher of TLS that ended here, and /resumed if a session was taken up",
    "sni": "the name that the client has asked for in TLS",
    "alpn": "the protocol that was agreed on in TLS that ended here",
    "cn": "the common name in the client's certificate there",
    "server_tls": "version and cipher of TLS with the server, and /resumed if a session was taken up",
    "queue": "how long it waited until a server had room, seconds",
    "connect": "how long the connect to the server took, seconds; 0 on a connection that was kept",
    "total": "how long it took as a whole, seconds",
    "in": "bytes received from the client",
    "out": "bytes received from the server, or of an answer that was made here",
    "retries": "how often another server was tried, or the same again",
    "reason": "why it ended, a code of those in ARCHITECTURE.md",
    "fault": "where to look first: nobody, client, server or proxy",
    "detail": "the system's own word for that",
}

OF_CONNECTIONS: Mapping[str, str] = {
    **_OF_BOTH,
    "client_tcp": "what the kernel knew of the client's side, with tcp_info = yes",
    "server_tcp": "what the kernel knew of the server's side",
}

OF_REQUESTS: Mapping[str, str] = {
    **_OF_BOTH,
    "method": "the method",
    "host": "the host that was asked for, as the client has written it",
    "target": "what was asked for there, as the client has written it",
    "path": "the same up to its query",
    "query": "what is behind its question mark",
    "version": "which HTTP it came by: 1.0, 1.1 or 2.0",
    "status": "the status of what the client was answered, 0 if nothing",
    "user": "who has asked, if a password has shown it",
    "cache": "what it had of a cache: hit, stale, miss, revalidated, coalesced or bypass",
    "encoding": "what the answer's body was put in on the way: gzip, br, zstd, or identity if it was decoded",
    "first_byte": "how long it took until the server's answer began, seconds",
    "hedged": "yes if a second server was asked while the first might still answer, else -",
    "request.NAME": "a field of the request, such as request.user-agent; several of a name with commas",
    "response.NAME": "a field of the server's answer, such as response.content-type",
}

_FIELD = re.compile(r"(request|response)\.[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}", re.ASCII).fullmatch
_TEXT = re.compile(r"[\t\x20-\x7e]*", re.ASCII).fullmatch


def _is_field(name: str) -> bool:
    return _FIELD(name) is not None


def _format(text: str, known: Mapping[str, str]) -> Template:
    """The format.  Raises `Invalid`."""
    if not _TEXT(text):
        raise Invalid(f"{quoted(text)} has a letter that is not ASCII, as all of the log is")
    found = template(text, known, _is_field if known is OF_REQUESTS else None)
    places = [name for _, name in found.parts if name]
    if not places:
        raise Invalid(f"{quoted(text)} says nothing; write '{{client}} {{reason}}', for example")
    if len(places) > MOST_PLACES:
        raise Invalid(f"has {len(places)} places; there may be {MOST_PLACES}")
    if text.count('"') % 2:
        raise Invalid(f"{quoted(text)} has a quote that is not closed")
    return found


@frozen
class RequestFormat(OneWord):
    """One of the formats that have a name, or one's own for requests."""

    shape: ClassVar[str] = (
        "`text`, `json`, `combined`, or between single quotes a text with [places](#places-in-a-line-of-the-"
        "access-log), such as `'{client} \"{method} {target}\" {status}'`"
    )

    def read(self, word: Word) -> Union[str, Template]:
        if word.text in NAMED:
            return word.text
        if "{" not in word.text:
            raise Invalid(unknown(word.text, NAMED))
        return _format(word.text, OF_REQUESTS)


@frozen
class ConnectionFormat(OneWord):
    """One's own format for connections."""

    shape: ClassVar[str] = "a text with places, between single quotes"

    def read(self, word: Word) -> Template:
        return _format(word.text, OF_CONNECTIONS)
