"""
How does a client of MySQL, or MariaDB, come to TLS, and how do we with its server?

The server greets, and among its capabilities is TLS.  A client that wants it sends the beginning of its login
(SSLRequest), begins TLS without waiting for an answer, and sends the login as a whole inside.  All packets
until the end of the login are numbered, so where one side has sent a packet more, the numbers of the other's
are shifted; the first command begins with 0 again, and from there on nothing is touched.

Source: "Connection Phase" of MySQL's source documentation, "Connection" of MariaDB's, and their sql_acl.cc,
which takes the capabilities of the SSLRequest for the login's.
"""

from __future__ import annotations

from typing import NoReturn, Optional

from attrs import evolve

from proxyd.errors import Malformed, Reason, Refused
from proxyd.wire import mysql
from proxyd.wire.mysql import PROTOCOL_41, SSL, SSL_REQUEST_LENGTH, Packet, framed, wants_tls
from proxyd.wire.starttls.step import (
    CLIENT,
    NONE,
    REQUIRED,
    SERVER,
    Step,
    client_wrong,
    server_wrong,
)

# caching_sha2_password wants the password itself, because it takes the channel for a safe one, or its key.
_FULL_LOGIN = bytes([mysql.MORE_DATA]) + mysql.FULL_LOGIN


class MysqlOffer:
    """
    The login of a client, from the greeting to the server's word that it is in, or not.

    ``server_tls`` says that the server is asked for TLS, once its client has answered the greeting.
     ``number`` is that of the next packet to the client: an error that we tell it must have it.
    """

    def __init__(self, offer: str, server_tls: bool) -> None:
        self.awaited = SERVER
        self.number = 0
        self._offer = offer
        self._server_tls = server_tls
        self._greeted = False
        self._client_tls = False
        self._login: Optional[Packet] = None  # while the server begins TLS
        self._sent = False  # the login, to the server
        self._shift = 0  # how much further the client's numbers are than the server's

    def step(self, client: bytes, server: bytes) -> Optional[Step]:
        if not self._greeted:
            return self._greet(server)
        if self._login is not None:
            login, self._login = self._login, None
            return self._send(login, Step())
        if not self._sent:
            return self._log_in(client)
        return self._pass_on(client, server)

    def _greet(self, server: bytes) -> Optional[Step]:
        found = _from_server(server)
        if found is None:
            return None
        greeting, length = found
        if greeting.kind == mysql.ERROR:
            return Step(from_server=length, to_client=server[:length], over=True)
        place = _flags_of(greeting.body)
        flags = int.from_bytes(greeting.body[place : place + 2], "little")
        if self._server_tls and not flags & SSL:
            server_wrong("does not offer TLS in its greeting")
        flags = flags & ~SSL if self._offer == NONE else flags | SSL
        body = greeting.body[:place] + flags.to_bytes(2, "little") + greeting.body[place + 2 :]
        self._greeted = True
        self.awaited = CLIENT if self._offer == REQUIRED else ""
        self.number = greeting.number + 1
        return Step(from_server=length, to_client=framed(body, greeting.number))

    def _log_in(self, client: bytes) -> Optional[Step]:
        found = _from_client(client, self.number)
        if found is None:
            return None
        packet, length = found
        flags = int.from_bytes(packet.body[:4], "little")
        if len(packet.body) < SSL_REQUEST_LENGTH or not flags & PROTOCOL_41:
            client_wrong("a login that is older than MySQL 4.1")
        self.number = packet.number + 1
        if self._client_tls:
            return self._reach(packet, Step(from_client=length))
        if flags & SSL:
            if self._offer == NONE or len(packet.body) != SSL_REQUEST_LENGTH:
                client_wrong("asks for TLS where it may not")
            self._client_tls = True
            self.awaited = ""
            return Step(from_client=length, tls=CLIENT, early=True)
        if self.awaited == CLIENT:
            raise Refused(Reason.TLS_REQUIRED, "logs in without TLS")
        return self._reach(packet, Step(from_client=length))

    def _reach(self, login: Packet, step: Step) -> Step:
        """Send a login to the server, which may have to begin TLS before."""
        self._shift = self._client_tls - self._server_tls
        if not self._server_tls:
            return self._send(login, step)
        self._login = login
        request = wants_tls(login.body[:SSL_REQUEST_LENGTH])
        return evolve(step, to_server=framed(request, 1), tls=SERVER)

    def _send(self, login: Packet, step: Step) -> Step:
        self._sent = True
        body = wants_tls(login.body, self._server_tls)
        # Where nothing is shifted, we are through.
        return evolve(step, to_server=framed(body, login.number - self._shift), joined=not self._shift)

    def _pass_on(self, client: bytes, server: bytes) -> Optional[Step]:
        found = _from_server(server)
        if found is not None:
            packet, length = found
            self.number = packet.number + self._shift
            if packet.body == _FULL_LOGIN:
                _no_full_login(self._shift > 0)
            through = packet.kind in (mysql.OK, mysql.ERROR)
            passed = framed(packet.body, self.number)
            self.number += 1
            return Step(from_server=length, to_client=passed, joined=through)
        found = _from_client(client, self.number)
        if found is None:
            return None
        packet, length = found
        self.number = packet.number + 1
        return Step(from_client=length, to_server=framed(packet.body, packet.number - self._shift))


def _flags_of(body: bytes) -> int:
    """Where the lower half of the capabilities is in a greeting."""
    try:
        mysql.greeting(body)
    except Malformed as wrong:
        server_wrong(str(wrong))
    return body.index(b"\0", 1) + 14  # thread id 4, nonce 8, a zero


def _from_server(data: bytes) -> Optional[tuple[Packet, int]]:
    try:
        return mysql.packet(data)
    except Malformed as wrong:
        server_wrong(str(wrong))


def _from_client(data: bytes, number: int) -> Optional[tuple[Packet, int]]:
    try:
        found = mysql.packet(data)
    except Malformed as wrong:
        client_wrong(str(wrong))
    if found is not None and found[0].number != number % 256:
        client_wrong(f"a packet with number {found[0].number} in place of {number % 256}")
    return found


def _no_full_login(client_is_safe: bool) -> NoReturn:
    """
    Refuse a login that cannot succeed, before the client sends what it must not.

    One side has TLS and the other has none.  A client with TLS would send its password as it is, and the
    server without would want it encrypted; or the other way round.
    """
    has, has_not = ("client", "server") if client_is_safe else ("server", "client")
    raise Refused(
        Reason.STARTTLS_LOGIN,
        f"caching_sha2_password wants the password itself; the {has} has TLS, and the {has_not} has not",
    )
