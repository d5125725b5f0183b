"""
What was asked, and what was answered?  A line of the access log for each request of HTTP.

A text line is like that of a connection (`proxyd.ops.accesslog`; one line, folded here)::

    2026-11-22T10:00:00.123Z listener=web client=10.0.0.9:40312 method=GET host=example.com target=/index.html
    version=1.1 status=200 pool=web server=a address=10.0.0.1:80 via=- route=- user=- id=- tls=- sni=- alpn=-
    cn=- cache=- queue=- connect=0.000312 first_byte=0.001204 total=0.001913 in=517 out=20480
    encoding=- retries=0 server_tls=- reason=answered fault=nobody detail=-

============  ============================================================================
the time      when the head of the request was there (UTC); the lines are written when it is over
``method``    and ``host``, ``target``, ``version``: what was asked; ``-`` what could not be read
``status``    what the client was answered, 0 if it got no answer
``chosen``    by what it got its server, as of a connection, or ``hedge``: only here if not the balance
``user``      who has asked, if a password has shown it
``id``        what the client was shown for ``{id}`` in a page of ours
``cache``     what it had of a cache: hit, stale, miss, revalidated, coalesced or bypass
``tls``       and ``sni``, ``alpn``, ``cn``: of the connection that it came on
``connect``   how long the connect to the server took, seconds; 0 on a connection that was kept
``first…``    how long it took until the server's answer began, seconds
``total``     how long it took until the answer was complete, seconds
``encoding``  what its body was put in on the way, ``identity`` if it was decoded, ``-`` if it was left
``serv…``     ``server_tls``: version and cipher of TLS with the server, as ``tls``
============  ============================================================================

``combined`` is Apache's format of that name, which most tools read; the bytes in it are those of the whole
answer, with its head, but for what a cache has given: of that they are those of the body.  It has no lines
for connections.  A line of JSON is an object with the names of `proxyd.records.RequestRecord`, and the fields
Referer and User-Agent as ``referer`` and ``user_agent``.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Callable, Sequence

from proxyd.errors import Reason
from proxyd.ops.words import LONGEST_VALUE, address_alone, by_what, clock, duration, moment, rounded, word
from proxyd.records import RequestRecord, version_of

_to_json = json.JSONEncoder(separators=(",", ":")).encode

_ending = {reason.code: f" reason={reason.code} fault={reason.fault.value}" for reason in Reason}

_plain = re.compile(rb"[!#-<>-\[\]-~]{2,500}").fullmatch  # as in `proxyd.ops.words`; one byte could be a dash

_NOT_KNOWN = " id=- tls=- sni=- alpn=- cn=-"

_UNSAFE = re.compile(r'["\\]|[^\x20-\x7e]')


def text_line(record: RequestRecord) -> str:
    """The record as a line of text, with its newline; ASCII."""
    connect, pool, server = record.connect_seconds, record.pool, record.server
    address, chosen = record.server_address, record.chosen
    # Of more than thirty pieces CPython makes a list that it joins, which takes twice as long.
    return (
        f"{moment(record.started) or '-'}{_client(record.listener, record.client)}"
        f"{_asked(record.method, record.host, record.target)}"
        f"{_way(record.http2, record.minor, record.status, pool, server, address, chosen)}"
        f"{_whose(record.via, record.route, record.user)}"
        f"{_known(record) if record.tls or record.sni or record.unique_id else _NOT_KNOWN}"
        f" cache={record.cache or '-'} queue={duration(record.queue_seconds)}"
        f" connect={'0.000000' if connect == 0.0 else duration(connect)}"
        f" first_byte={duration(record.first_byte_seconds)} total={duration(record.total_seconds)}"
        f" in={record.bytes_in} out={record.bytes_out}"
        f"{_end(record.encoding, record.retries, record.server_tls, record.reason.code)}"
        f" detail={word(record.detail) if record.detail else '-'}\n"
    )


# Who asks, of whom, and who answers is the same for many lines.


@lru_cache(maxsize=1024)
def _client(listener: str, client: str) -> str:
    return f" listener={word(listener)} client={word(client)}"


@lru_cache(maxsize=256)  # targets may be long
def _asked(method: bytes, host: bytes, target: bytes) -> str:
    plain = target.decode("ascii") if _plain(target) else _said(target)
    return f"{_of(method, host)} target={plain}"


@lru_cache(maxsize=1024)
def _of(method: bytes, host: bytes) -> str:
    return f" method={_said(method)} host={_said(host)}"


@lru_cache(maxsize=1024)
def _way(http2: bool, minor: int, status: int, pool: str, server: str, address: str, chosen: str) -> str:
    version = version_of(http2, minor)
    return (
        f" version={version} status={status} pool={word(pool)} server={word(server)} address={word(address)}"
        f"{by_what(chosen)}"
    )


@lru_cache(maxsize=1024)
def _whose(via: str, route: str, user: str) -> str:
    return f" via={word(via)} route={word(route)} user={word(user)}"


@lru_cache(maxsize=1024)
def _end(encoding: str, retries: int, server_tls: str, reason: str) -> str:
    return f" encoding={encoding or '-'} retries={retries} server_tls={word(server_tls)}{_ending[reason]}"


def _known(record: RequestRecord) -> str:
    """What the page calls the request, and what is known of TLS with the client."""
    return (
        f" id={word(record.unique_id)} tls={word(record.tls)} sni={word(record.sni)}"
        f" alpn={word(record.alpn)} cn={word(record.client_cn)}"
    )


def json_line(record: RequestRecord) -> str:
    """The record as a line with one JSON object, with its newline; ASCII."""
    return (
        _to_json(
            {
                "started": moment(record.started),
                "listener": record.listener[:LONGEST_VALUE],
                "client": record.client[:LONGEST_VALUE],
                "method": _text(record.method),
                "host": _text(record.host),
                "target": _text(record.target),
                "version": record.version,
                "status": record.status,
                "referer": _text(_field(record.fields, b"referer")),
                "user_agent": _text(_field(record.fields, b"user-agent")),
                "pool": record.pool[:LONGEST_VALUE],
                "server": record.server[:LONGEST_VALUE],
                "server_address": record.server_address[:LONGEST_VALUE],
                "chosen": record.chosen,
                "via": record.via[:LONGEST_VALUE],
                "route": record.route[:LONGEST_VALUE],
                "user": record.user[:LONGEST_VALUE],
                "unique_id": record.unique_id,
                "cache": record.cache,
                "tls": record.tls[:LONGEST_VALUE],
                "sni": record.sni[:LONGEST_VALUE],
                "alpn": record.alpn[:LONGEST_VALUE],
                "client_cn": record.client_cn[:LONGEST_VALUE],
                "server_tls": record.server_tls[:LONGEST_VALUE],
                "queue_seconds": rounded(record.queue_seconds),
                "connect_seconds": rounded(record.connect_seconds),
                "first_byte_seconds": rounded(record.first_byte_seconds),
                "total_seconds": rounded(record.total_seconds),
                "bytes_in": record.bytes_in,
                "bytes_out": record.bytes_out,
                "encoding": record.encoding,
                "retries": record.retries,
                "hedged": record.hedged,
                "reason": record.reason.code,
                "fault": record.reason.fault.value,
                "detail": record.detail[:LONGEST_VALUE],
            }
        )
        + "\n"
    )


def combined_line(record: RequestRecord) -> str:
    """The record in Apache's combined format, with its newline; ASCII."""
    host = address_alone(record.client)
    asked = "-"
    if record.method:
        asked = f"{_escaped(record.method)} {_escaped(record.target)} HTTP/{record.version}"
    referer, agent = _field(record.fields, b"referer"), _field(record.fields, b"user-agent")
    return (
        f'{host} - {word(record.user)} [{clock(int(record.started))}] "{asked}" {record.status}'
        f" {record.bytes_out}"
        f' "{_escaped(referer) or "-"}" "{_escaped(agent) or "-"}"\n'
    )


FORMATS: dict[str, Callable[[RequestRecord], str]] = {
    "text": text_line,
    "json": json_line,
    "combined": combined_line,
}


def _said(value: bytes) -> str:
    return word(_text(value))


def _text(value: bytes) -> str:
    return value[:LONGEST_VALUE].decode("latin-1")


def _field(fields: Sequence[tuple[bytes, bytes, bytes, int]], name: bytes) -> bytes:
    for field in fields:
        if field[0] == name:
            return field[1]
    return b""


def _escaped(value: bytes) -> str:
    """As Apache writes what it cannot trust."""
    return _UNSAFE.sub(_escape, _text(value))


def _escape(match: re.Match[str]) -> str:
    letter = match.group()
    return f"\\{letter}" if letter in '"\\' else f"\\x{ord(letter):02x}"
