"""
Does TLS begin by a wish, in the way of the protocol?  The ``starttls =`` of a listener, and the parameter of
a pool's ``tls``.
"""

from __future__ import annotations

from typing import Any, Iterator, Mapping

from proxyd.config.options import Choice, Option
from proxyd.config.words import quoted

PROTOCOLS = ("pgsql", "mysql", "smtp", "imap", "ftp")  # as `proxyd.wire.starttls` has them

# What TLS must be told to be for, by clients that begin it with the first byte.
ALPN = {"pgsql": (b"postgresql",)}

REQUIRED, OPTIONAL, NO = "required", "optional", "no"

_LIST = ", ".join(PROTOCOLS[:-1]) + f" or {PROTOCOLS[-1]}"

OPTION = Option(
    "starttls",
    Choice((REQUIRED, OPTIONAL, NO)),
    f"Where TLS ends here and clients speak {_LIST} (`speaks`), it begins in the way of "
    "their protocol, when a client asks for it: by SSLRequest of PostgreSQL, the flag in MySQL's login, "
    "STARTTLS of SMTP and IMAP, AUTH TLS of FTP (its connections for data are not encrypted). `required`: "
    "a client that goes on without TLS is told so and gets no further; `optional`: it goes on; `no`: TLS "
    "begins with the first byte, as on the ports 465, 993 and 990.",
    "starttls = optional",
    default=REQUIRED,
)

SERVER_PARAMETER = Option(
    "starttls",
    Choice(PROTOCOLS),
    "TLS begins in the way of this protocol, when the server has agreed to it; one that does not agree was "
    "not reached.",
    "starttls=pgsql",
    otherwise="TLS begins with the first byte",
)


def offered(given: str, speaks: str) -> str:
    """Whether clients are offered TLS where it ends here: `REQUIRED`, `OPTIONAL`, or "" if it is not so."""
    return "" if given == NO or speaks not in PROTOCOLS else given or REQUIRED


def contradictions(given: Mapping[str, Any], speaks: str, tls: bool) -> Iterator[tuple[str, str]]:
    """What is wrong with ``starttls`` where clients speak this; ``tls`` says whether TLS ends there."""
    wanted, header = given.get("starttls", ""), given.get("proxy_protocol")
    if wanted and not tls:
        yield "starttls", "is for a listener that ends TLS; write tls = /etc/proxyd/certs, for example"
    elif wanted and speaks not in PROTOCOLS:
        yield "starttls", f"is for {_LIST}; say which by speaks = pgsql, for example"
    elif wanted == NO and speaks == "mysql":
        yield "starttls", f"{quoted(NO)}: in mysql TLS begins in no other way"
    if tls and offered(wanted, speaks) and header is not None and header.inside_tls:
        yield "proxy_protocol", f"inside_tls: in {speaks} TLS begins later; the header comes before all else"


def is_late(speaks: str) -> bool:
    """Whether TLS of a protocol begins when a server was chosen already, because servers greet first."""
    return speaks != "pgsql"


def unmet(pool: str, asks: str, speaks: str) -> str:
    """Why clients that speak this cannot be led to a pool that ``asks`` so for TLS; "" if they can."""
    return "" if asks in ("", speaks) else f"[pool {pool}] begins TLS as {asks} does; write speaks = {asks}"
