"""
What is to be done next, while TLS is still being agreed on?

Each protocol has two kinds of objects.  An offer stands between the client and its server, whose words it
passes on and amends, until TLS with the client stands, or is not wanted.  A request asks a server for TLS as
a client of its own would, before that.  Both are asked by the same verb, again and again:

    step(client, server)    all that either side has said and that was not taken, to what is to be done

It is None while more has to come.  Both keep none of the bytes, so however they are cut, the same comes of
them.  What a client does wrong raises `proxyd.errors.Refused`; what a server does wrong,
`proxyd.errors.DialFailed`.

Never is anything passed on, to either side, that was behind a wish for TLS or its answer in plaintext: it
would be taken for what was said inside (CVE-2011-0411, CVE-2021-23214, CVE-2021-23222, and NO STARTTLS,
USENIX Security 2021).
"""

from __future__ import annotations

from typing import NoReturn, Optional, Protocol

from attrs import frozen

from proxyd.errors import DialFailed, Malformed, Reason, Refused

# Whether TLS is offered to clients, as `proxyd.config.starttls` says it, and nothing if it is not.
NONE, OPTIONAL, REQUIRED = "", "optional", "required"

CLIENT, SERVER = "client", "server"

MOST_COMMANDS = 32  # of a client that must begin TLS and does not; real ones need three


@frozen
class Step:
    """
    Take so many bytes of either side, say this to either side, and begin TLS with one of them, in this order.

    ``early`` says that what the client has said and was not taken is the beginning of TLS.  With ``joined``
    all is agreed on: whatever was not taken, and all that follows, goes to the other side as it is; ``heard``
    is what the server has said before, which the client is still to hear.  With ``over`` both have taken
    their leave.
    """

    from_client: int = 0
    from_server: int = 0
    to_client: bytes = b""
    to_server: bytes = b""
    tls: str = ""
    early: bool = False
    joined: bool = False
    heard: bytes = b""
    over: bool = False


class Agreement(Protocol):
    """
    An offer or a request.

    ``awaited`` is who has to go on: the server that owes an answer, the client that owes TLS, or "" for a
    client that may take its time.
    """

    @property
    def awaited(self) -> str: ...

    def step(self, client: bytes, server: bytes) -> Optional[Step]: ...


def alone(data: bytes, length: int) -> None:
    """Refuse a client that says more than the first so many bytes, before TLS that they ask for."""
    if len(data) > length:
        client_wrong(f"{len(data) - length} bytes behind its wish for TLS, and before TLS")


def answer_alone(data: bytes, length: int) -> None:
    """Give a server up that says more than that, before TLS that it has agreed to."""
    if len(data) > length:
        server_wrong(f"said {len(data) - length} bytes more before TLS began")


def client_wrong(detail: str) -> NoReturn:
    """A client does not keep to its protocol."""
    raise Refused(Reason.STARTTLS_MALFORMED, detail)


def server_wrong(detail: str) -> NoReturn:
    """A server does not keep to its protocol, or would not begin TLS."""
    raise DialFailed(Reason.STARTTLS_REFUSED, detail)


def line(data: bytes, longest: int) -> Optional[bytes]:
    r"""
    The first line with its end, or None for more; raises `Malformed`.

    A carriage return elsewhere, or a NUL, is no part of a line: some would read two lines there.
    """
    end = data.find(b"\n", 0, longest)
    if end < 0:
        if len(data) >= longest:
            raise Malformed(f"a line of more than {longest} bytes")
        return None
    found = data[: end + 1]
    if b"\0" in found or b"\r" in found[:-2]:
        raise Malformed("a line with a NUL, or a carriage return that does not end it")
    return found
