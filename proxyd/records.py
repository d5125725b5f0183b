"""
What is told of a connection when it has ended, and of a request when it is over?

One is made of each, so they are made and read by compiled code, which values of attrs are not.  They are made
by the places of their arguments: by name it takes twice as long.
"""

from __future__ import annotations

from typing import Mapping, Optional, Sequence

from proxyd.errors import Reason

_VERSIONS = ("1.0", "1.1")


class Record:
    """
    All that is known of one connection when it has ended; nobody changes it.

    Times are seconds: ``started`` since the epoch, the others durations.  ``connect_seconds`` is how
    long the dial that succeeded took, and ``queue_seconds`` how long the client has waited until a server
    had room, if it had to.  Bytes are counted as received: ``bytes_in`` from the client, ``bytes_out`` from
    the server.  ``retries`` counts the dials after the first.  ``chosen`` is by what the client got
    the server (`proxyd.policy.chosen`), "" without one.

    ``client`` is the client's own address, and ``via`` that of the proxy that has told it in a PROXY header.
    ``sni`` is the name in its ClientHello, if that was read, and ``route`` the one that was taken.
    ``tls`` is the version and the cipher of TLS that ended here, and ``/resumed`` if a session was taken up;
    ``alpn`` what was agreed on there, and ``client_cn`` whose certificate the client has shown.
    ``server_tls`` is the same of TLS with the server.  ``unique_id`` is what the server was told that this
    connection is called, if it was.
    ``client_tcp`` and ``server_tcp`` are what the kernel knew of the two sides
    (`proxyd.wire.tcpinfo`), if that is wanted.
    ``requests`` is how many it brought, None if it did not speak HTTP to us; what became of these, and which
    servers they went to, is in a `RequestRecord` of each.
    """

    __slots__ = (
        "alpn",
        "bytes_in",
        "bytes_out",
        "chosen",
        "client",
        "client_cn",
        "client_tcp",
        "connect_seconds",
        "detail",
        "listener",
        "pool",
        "queue_seconds",
        "reason",
        "requests",
        "retries",
        "route",
        "server",
        "server_address",
        "server_tcp",
        "server_tls",
        "sni",
        "started",
        "tls",
        "total_seconds",
        "unique_id",
        "via",
    )

    def __init__(
        self,
        started: float,
        listener: str,
        client: str,
        reason: Reason,
        total_seconds: float,
        pool: str = "",
        server: str = "",
        server_address: str = "",
        connect_seconds: Optional[float] = None,
        bytes_in: int = 0,
        bytes_out: int = 0,
        retries: int = 0,
        detail: str = "",
        chosen: str = "",
        via: str = "",
        sni: str = "",
        route: str = "",
        unique_id: str = "",
        tls: str = "",
        client_cn: str = "",
        server_tls: str = "",
        client_tcp: Optional[Mapping[str, float]] = None,
        server_tcp: Optional[Mapping[str, float]] = None,
        queue_seconds: Optional[float] = None,
        requests: Optional[int] = None,
        alpn: str = "",
    ) -> None:
        self.started = started
        self.listener = listener
        self.client = client
        self.reason = reason
        self.total_seconds = total_seconds
        self.pool = pool
        self.server = server
        self.server_address = server_address
        self.connect_seconds = connect_seconds
        self.bytes_in = bytes_in
        self.bytes_out = bytes_out
        self.retries = retries
        self.detail = detail
        self.chosen = chosen
        self.via = via
        self.sni = sni
        self.route = route
        self.unique_id = unique_id
        self.tls = tls
        self.client_cn = client_cn
        self.server_tls = server_tls
        self.client_tcp = client_tcp
        self.server_tcp = server_tcp
        self.queue_seconds = queue_seconds
        self.requests = requests
        self.alpn = alpn


class RequestRecord:
    """
    All that is known of one request of HTTP when it is over; nobody changes it.  The words are those of
    `Record`.

    ``target`` is as the client has sent it, ``fields`` are those that it has sent for servers: of each its
    name in lower case and its value first; ``answer_fields`` are those of the server's answer.  What could
    not be read of a request is b"".  ``status`` is what the client was answered, 0 if nothing.
    ``first_byte_seconds`` is when the server's answer began; it and the others are counted from when the
    head of the request was there.  ``user`` is who has asked, if a password has shown it.  ``cache`` is what
    the request had of a cache: hit, stale, miss, revalidated, coalesced or bypass; "" without one.
    ``unique_id`` is what the page of ours that the client was shown calls it, if that says so.
    ``encoding`` is the coding that the body of the answer was put in here, ``identity`` if one was taken off.
    ``hedged`` says that a second server was asked while the first might still answer.
    """

    __slots__ = (
        "alpn",
        "answer_fields",
        "bytes_in",
        "bytes_out",
        "cache",
        "chosen",
        "client",
        "client_cn",
        "connect_seconds",
        "detail",
        "encoding",
        "fields",
        "first_byte_seconds",
        "hedged",
        "host",
        "http2",
        "listener",
        "method",
        "minor",
        "pool",
        "queue_seconds",
        "reason",
        "retries",
        "route",
        "server",
        "server_address",
        "server_tls",
        "sni",
        "started",
        "status",
        "target",
        "tls",
        "total_seconds",
        "unique_id",
        "user",
        "via",
    )

    def __init__(
        self,
        started: float,
        listener: str,
        client: str,
        reason: Reason,
        total_seconds: float,
        method: bytes,
        host: bytes,
        target: bytes,
        minor: int,
        status: int,
        fields: Sequence[tuple[bytes, bytes, bytes, int]] = (),
        pool: str = "",
        server: str = "",
        server_address: str = "",
        connect_seconds: Optional[float] = None,
        queue_seconds: Optional[float] = None,
        first_byte_seconds: Optional[float] = None,
        bytes_in: int = 0,
        bytes_out: int = 0,
        retries: int = 0,
        detail: str = "",
        via: str = "",
        route: str = "",
        user: str = "",
        http2: bool = False,
        chosen: str = "",
        tls: str = "",
        sni: str = "",
        alpn: str = "",
        client_cn: str = "",
        server_tls: str = "",
        answer_fields: Sequence[tuple[bytes, bytes, bytes, int]] = (),
        cache: str = "",
        unique_id: str = "",
        encoding: str = "",
        hedged: bool = False,
    ) -> None:
        self.started = started
        self.listener = listener
        self.client = client
        self.reason = reason
        self.total_seconds = total_seconds
        self.method = method
        self.host = host
        self.target = target
        self.minor = minor
        self.status = status
        self.fields = fields
        self.pool = pool
        self.server = server
        self.server_address = server_address
        self.connect_seconds = connect_seconds
        self.queue_seconds = queue_seconds
        self.first_byte_seconds = first_byte_seconds
        self.bytes_in = bytes_in
        self.bytes_out = bytes_out
        self.retries = retries
        self.detail = detail
        self.via = via
        self.route = route
        self.user = user
        self.http2 = http2
        self.chosen = chosen
        self.tls = tls
        self.sni = sni
        self.alpn = alpn
        self.client_cn = client_cn
        self.server_tls = server_tls
        self.answer_fields = answer_fields
        self.cache = cache
        self.unique_id = unique_id
        self.encoding = encoding
        self.hedged = hedged

    @property
    def version(self) -> str:
        """Which HTTP it came by."""
        return version_of(self.http2, self.minor)


def version_of(http2: bool, minor: int) -> str:
    """Which HTTP it is, as people write it."""
    return "2.0" if http2 else _VERSIONS[minor]
