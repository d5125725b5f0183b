"""
Who connected, where did it lead, and how did it end?  One line for each connection.

A text line is a time and then ``name=value``, all of them always but ``chosen``, and in this order (one
line, folded here)::

    2026-11-22T10:00:00.123Z listener=web client=10.0.0.9:40312 pool=web server=a address=10.0.0.1:80
    via=- sni=- route=- id=- tls=- alpn=- cn=- queue=- connect=0.000312 total=1.204113 in=517 out=20480
    retries=0 server_tls=- client_tcp=- server_tcp=- reason=client_finished fault=nobody detail=-

==============  ============================================================================
the time        when the connection was accepted (UTC); lines are written when it has ended
``client``      the client's address
``address``     the address of the server that was tried last
``chosen``      by what the client got that server (`proxyd.policy.chosen`): only here if that was
                not the balance: ``affinity``, ``backup``, ``panic``, ``last_resort`` or ``retry``
``via``         the proxy that has told the client's address in a PROXY header
``sni``         the name that the client asks for in TLS, if that was read or ends here
``route``       the route that was taken
``id``          what the server was told that this connection is called (PROXY protocol)
``tls``         the version and the cipher of TLS that ended here, as ``TLSv1.3/TLS_AES_128_GCM_SHA256``,
                and ``/resumed`` if a session was taken up
``alpn``        the protocol that was agreed on there
``cn``          the common name in the certificate of the client there
``queue``       how long the client waited until a server had room, seconds; ``-`` if it had not to
``connect``     how long the connect to the server took, seconds; ``-`` when none succeeded
``total``       how long the connection lasted, seconds
``in, out``     bytes received from the client, and from the server
``retries``     servers that were tried in vain
``server_tls``  the same of TLS with the server as ``tls``
``…_tcp``       what the kernel knew of the two sides at the end, with ``tcp_info = yes``:
                ``rtt:0.000312,mss:1448,retransmits:0`` and more (`proxyd.wire.tcpinfo`)
``reason``      why it ended, a code of `proxyd.errors.Reason`
``fault``       where to look first: nobody, client, server or proxy
``detail``      the system's own word for it
==============  ============================================================================

The words are those of the metrics' labels.  What is unknown is ``-``.  A value with anything but plain
visible ASCII in it is written as a JSON string, so no value can break a line or fake a field.

A JSON line is an object with the names of `proxyd.records.Record`; ``started`` is ISO 8601,
``reason`` is the code, ``fault`` stands beside it, and what is not known is ``""`` or ``null``.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Callable, Optional

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import classImplements

from proxyd.config.daemon import AccessLogSpec
from proxyd.config.template import Template
from proxyd.errors import Reason
from proxyd.interfaces import IObserver
from proxyd.ops import requestlog
from proxyd.ops.logfile import LogFile
from proxyd.ops.logformat import line_of
from proxyd.ops.words import LONGEST_VALUE, by_what, duration, kernel, moment, rounded, word
from proxyd.records import Record, RequestRecord

log = Logger(__name__)

_to_json = json.JSONEncoder(separators=(",", ":")).encode  # leaves ASCII only, and no control character


_ending = {reason.code: f" reason={reason.code} fault={reason.fault.value} detail=" for reason in Reason}

_name = lru_cache(maxsize=1024)(word)  # for the values that the configuration bounds


@lru_cache(maxsize=1024)
def _way(pool: str, server: str, address: str, chosen: str) -> str:
    return f" pool={word(pool)} server={word(server)} address={word(address)}{by_what(chosen)}"


def text_line(record: Record) -> str:
    """The record as a line of text, with its newline; ASCII."""
    server_tls = record.server_tls
    return (
        f"{moment(record.started) or '-'} listener={_name(record.listener)} client={word(record.client)}"
        f"{_way(record.pool, record.server, record.server_address, record.chosen)}{_opening(record)}"
        f" queue={duration(record.queue_seconds)} connect={duration(record.connect_seconds)}"
        f" total={duration(record.total_seconds)}"
        f" in={record.bytes_in} out={record.bytes_out} retries={record.retries}"
        f" server_tls={_name(server_tls) if server_tls else '-'}{_tcp(record)}"
        f"{_ending[record.reason.code]}{word(record.detail) if record.detail else '-'}\n"
    )


def _opening(record: Record) -> str:
    """What the client's first bytes have said, and what of it was told to the server."""
    via, sni, route, unique_id, tls = record.via, record.sni, record.route, record.unique_id, record.tls
    if via or sni or route or unique_id or tls:
        return (
            f" via={word(via)} sni={word(sni)} route={_name(route)} id={word(unique_id)}"
            f" tls={_name(tls)} alpn={_name(record.alpn)} cn={word(record.client_cn)}"
        )
    return " via=- sni=- route=- id=- tls=- alpn=- cn=-"


def _tcp(record: Record) -> str:
    """What the kernel knew of the two sides."""
    client, server = record.client_tcp, record.server_tcp
    if client is None and server is None:
        return " client_tcp=- server_tcp=-"
    return f" client_tcp={kernel(client)} server_tcp={kernel(server)}"


def json_line(record: Record) -> str:
    """The record as a line with one JSON object, with its newline; ASCII."""
    return (
        _to_json(
            {
                "started": moment(record.started),
                "listener": record.listener[:LONGEST_VALUE],
                "client": record.client[:LONGEST_VALUE],
                "pool": record.pool[:LONGEST_VALUE],
                "server": record.server[:LONGEST_VALUE],
                "server_address": record.server_address[:LONGEST_VALUE],
                "chosen": record.chosen,
                "via": record.via[:LONGEST_VALUE],
                "sni": record.sni[:LONGEST_VALUE],
                "route": record.route[:LONGEST_VALUE],
                "unique_id": record.unique_id[:LONGEST_VALUE],
                "tls": record.tls[:LONGEST_VALUE],
                "alpn": record.alpn[:LONGEST_VALUE],
                "client_cn": record.client_cn[:LONGEST_VALUE],
                "queue_seconds": rounded(record.queue_seconds),
                "connect_seconds": rounded(record.connect_seconds),
                "total_seconds": rounded(record.total_seconds),
                "bytes_in": record.bytes_in,
                "bytes_out": record.bytes_out,
                "retries": record.retries,
                "requests": record.requests,
                "server_tls": record.server_tls[:LONGEST_VALUE],
                "client_tcp": record.client_tcp,
                "server_tcp": record.server_tcp,
                "reason": record.reason.code,
                "fault": record.reason.fault.value,
                "detail": record.detail[:LONGEST_VALUE],
            }
        )
        + "\n"
    )


FORMATS: dict[str, Callable[[Record], str]] = {"text": text_line, "json": json_line}


class AccessLog:
    """Writes a line for each connection that has ended, and each request, to a file or to twistd's log."""

    def __init__(self, spec: AccessLogSpec, clock: IReactorTime) -> None:
        self._request_line: Callable[[RequestRecord], str]
        self._line: Optional[Callable[[Record], str]] = None
        if isinstance(spec.format, Template):
            self._request_line = line_of(spec.format)
        else:
            self._request_line = requestlog.FORMATS[spec.format]
            self._line = FORMATS.get(spec.format)
        if spec.connections is not None:
            self._line = line_of(spec.connections)
        self._file = LogFile(spec.path, clock) if spec.path else None
        self._append = self._tell_twistd if self._file is None else self._file.append

    def open(self) -> None:
        """Open the file, while there are the privileges to; raises `proxyd.errors.StartError`."""
        if self._file is not None:
            self._file.open()

    def closed(self, record: Record) -> None:
        if self._line is not None and not record.requests:  # what came of requests is told of each
            self._append(self._line(record))

    def answered(self, record: RequestRecord) -> None:
        self._append(self._request_line(record))

    def close(self) -> None:
        """Write all that was gathered and close the file."""
        if self._file is not None:
            self._file.close()

    def _tell_twistd(self, line: str) -> None:
        log.info("{line}", line=line.rstrip("\n"))


classImplements(AccessLog, IObserver)
