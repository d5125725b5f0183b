"""
What can a check ask of a server?

Each kind of ``check =`` is a frozen value with what the operator asked, made of the kind's own parameters.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Iterator, Mapping, Optional, Union

from attrs import field, frozen

from proxyd.config.address import File
from proxyd.config.forms import (
    ClassPath,
    Expect,
    HeaderField,
    Helo,
    HexStep,
    Method,
    NamedValue,
    Path,
    Pattern,
    PatternStep,
    Send,
    Statuses,
    Step,
)
from proxyd.config.options import Choice, Duration, Option, Secret, Text, Variant


@frozen
class TcpAsk:
    """Whether a connection can be made."""


@frozen
class RedisAsk:
    """Whether Redis answers PING, and as which ``role``, master or replica, if that is not empty."""

    user: str = ""
    password: str = field(default="", repr=False)
    role: str = ""


@frozen
class PgsqlAsk:
    """
    Whether PostgreSQL asks for a password, or lets in the user with this one; then its ``role``, primary or
    replica, and what the first row of ``query`` is, its values with a blank between two.
    """

    user: str
    dbname: str = ""
    password: str = field(default="", repr=False)
    role: str = ""
    query: str = ""
    expect: str = ""


@frozen
class MysqlAsk:
    """Whether MySQL lets in the user, and what the first row of ``query`` is, as in `PgsqlAsk`."""

    user: str
    dbname: str = ""
    password: str = field(default="", repr=False)
    query: str = ""
    expect: str = ""


@frozen
class TlsAsk:
    """
    Whether TLS can be agreed on; then whether the certificate is for the name ``verify`` and from one who is
    trusted, going by the file ``ca`` or the system.  ``expiry`` is seconds before its end to warn at.
    """

    verify: str = ""
    sni: str = ""
    ca: str = ""
    expiry: Optional[float] = None


@frozen
class HttpAsk:
    """
    What a server answers to a request: one of the statuses, each a range with both ends, and a body of
    which a part fits the regular expression, if there is one.
    """

    method: str = "GET"
    path: str = "/"
    host: str = ""
    status: tuple[tuple[int, int], ...] = ((200, 399),)
    body: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@frozen
class HttpsAsk(HttpAsk):
    """The same over TLS, which is judged as in `TlsAsk`."""

    verify: str = ""
    sni: str = ""
    ca: str = ""
    expiry: Optional[float] = None

    @property
    def tls(self) -> TlsAsk:
        """What is asked of TLS."""
        return TlsAsk(self.verify, self.sni, self.ca, self.expiry)


@frozen
class ScriptAsk:
    """Whether the server says what is expected, step by step."""

    steps: tuple[Union[Send, Expect], ...] = field(default=(), repr=False)


@frozen
class SmtpAsk:
    """Whether a mail server answers EHLO; ``helo`` is what we call ourselves."""

    helo: str = "localhost"


@frozen
class FtpAsk:
    """Whether an FTP server greets us."""


@frozen
class LdapAsk:
    """Whether an LDAP server lets in the user, whose name is a DN, or anybody if that is empty."""

    user: str = ""
    password: str = field(default="", repr=False)


@frozen
class CommandAsk:
    """Whether a program exits with 0; ``{address}`` and the like in its arguments stand for the server's."""

    path: str
    arguments: tuple[str, ...] = ()

    @property
    def can_be_run(self) -> bool:
        """Whether there is such a program, and this user may run it."""
        return os.path.isfile(self.path) and os.access(self.path, os.X_OK)


@frozen
class PythonAsk:
    """Whether a class's method ``probe`` raises nothing; the class is named by its path."""

    probe: str
    parameters: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@frozen
class Kind:
    """
    A kind of check: the value made of its parameters, and what is written about it.

    ``contradictions`` says of the values given which parameter does not go with the others, and why.
    """

    ask: Callable[..., Any]
    doc: str
    parameters: tuple[Option, ...] = ()
    contradictions: Callable[[Mapping[str, Any]], Iterator[str]] = lambda given: iter(())


def _user_needs_password(given: Mapping[str, Any]) -> Iterator[str]:
    if "user" in given and "password" not in given:
        yield "user needs a password; write password=${PROBE_PASSWORD}, for example"


def _user_and_password(given: Mapping[str, Any]) -> Iterator[str]:
    yield from _user_needs_password(given)
    if "password" in given and "user" not in given:
        yield "password means nothing without a user; write user=cn=probe,dc=example,dc=com, for example"


def _expect_needs_query(given: Mapping[str, Any]) -> Iterator[str]:
    if "expect" in given and "query" not in given:
        yield 'expect needs a query; write query="SELECT 1", for example'


_QUERY = (
    Option(
        "query",
        Text(),
        "Ask this, after the login. An error fails the check.",
        'query="SELECT count(*) FROM jobs"',
        otherwise="no query",
    ),
    Option(
        "expect",
        Text(),
        "The first row of the query must be this: its values, with a blank between two.",
        "expect=0",
        otherwise="any row, and none",
    ),
)

_TLS = (
    Option(
        "verify",
        Text(),
        "The certificate must be for this name or IP address, and from an authority that is trusted. By SNI "
        "we ask for the same name.",
        "verify=www.example.com",
        otherwise="any certificate will do",
    ),
    Option(
        "sni",
        Text(),
        "The name to ask for by SNI, without verification.",
        "sni=www.example.com",
        otherwise="none, or that of `verify`",
    ),
    Option(
        "ca",
        File(),
        "A file with the certificates, in PEM, of the authorities that are trusted. It is read once.",
        "ca=/etc/ssl/our-ca.pem",
        otherwise="those of the system",
    ),
    Option(
        "expiry",
        Duration(),
        "Warn when the certificate expires within this time.",
        "expiry=14d",
        otherwise="no warning",
    ),
)


def _tls_contradictions(given: Mapping[str, Any]) -> Iterator[str]:
    if "sni" in given and "verify" in given:
        yield "sni and verify do not go together; verify asks for its name"
    if "ca" in given and "verify" not in given:
        yield "ca means nothing without verify; write verify=www.example.com, for example"


_HTTP = (
    Option("method", Method(), "The method.", "method=HEAD", default="GET"),
    Option("path", Path(), "The path, with its query if there is one.", "path=/health?full=1", default="/"),
    Option(
        "host",
        Text(),
        "The `Host` to ask for.",
        "host=www.example.com",
        otherwise="the address of the server",
    ),
    Option(
        "status",
        Statuses(),
        "The status must be one of these.",
        "status=200,204",
        default="200-399",
    ),
    Option(
        "body",
        Pattern(),
        "A part of the body, of which 64 KiB are read, must fit this regular expression of Python. The check "
        "fails if that takes more than 10 ms of processor time to find out.",
        'body="^ok$$"',
        otherwise="any body, and none",
    ),
    Option(
        "header",
        HeaderField(),
        "A further header of the request.",
        'header="X-Token: ${PROBE_PASSWORD}"',
        otherwise="none but `Host`, `User-Agent` and those of the connection",
        into="headers",
    ),
)

_SCRIPT = tuple(
    Option(name, form, doc, example, otherwise="no such step", into="steps")
    for name, form, doc, example in (
        ("send", Step(), "A step: this is said.", "send='PING\\r\\n'"),
        ("send_hex", HexStep(), "A step: the same in hexadecimal.", "send_hex=0d0a"),
        ("expect", Step(expected=True), "A step: this must come, after whatever else.", "expect=PONG"),
        (
            "expect_hex",
            HexStep(expected=True),
            "A step: this must come, after whatever else.",
            "expect_hex=00ff",
        ),
        (
            "expect_regex",
            PatternStep(),
            "A step: what matches this must come; it is looked for whenever something has come.",
            "expect_regex='^220[ -]'",
        ),
    )
)


def _script_expects(given: Mapping[str, Any]) -> Iterator[str]:
    if not any(isinstance(step, Expect) for step in given.get("steps", ())):
        yield "expects nothing; write expect=PONG, for example"


KINDS = {
    "tcp": Kind(
        TcpAsk,
        "A connection is made and closed; in a pool with `tls`, when TLS is agreed on. Without that, a "
        "process that is stopped passes as well.",
    ),
    "redis": Kind(
        RedisAsk,
        "`PING` must be answered with `PONG`.",
        (
            Option(
                "user",
                Text(),
                "Log in as this user (Redis 6 and later).",
                "user=probe",
                otherwise="the user `default`",
            ),
            Option(
                "password",
                Secret(),
                "Log in with `AUTH` first.",
                "password=${PROBE_PASSWORD}",
                otherwise="no login",
            ),
            Option(
                "role",
                Choice(("master", "replica")),
                "A server with another role (`ROLE`) fails.",
                "role=master",
                otherwise="any role",
            ),
        ),
        _user_needs_password,
    ),
    "pgsql": Kind(
        PgsqlAsk,
        "PostgreSQL must let the user in. Without a password it is enough that it asks for one.",
        (
            Option(
                "user", Text(), "The user; it needs no rights but to log in.", "user=probe", required=True
            ),
            Option(
                "dbname",
                Text(),
                "The database.",
                "dbname=postgres",
                otherwise="the one that is named as the user",
            ),
            Option(
                "password",
                Secret(),
                "The password. SCRAM-SHA-256, MD5 and clear text are spoken.",
                "password=${PROBE_PASSWORD}",
                otherwise="none",
            ),
            Option(
                "role",
                Choice(("primary", "replica")),
                "A server with another role (`pg_is_in_recovery()`) fails.",
                "role=primary",
                otherwise="any role",
            ),
            *_QUERY,
        ),
        _expect_needs_query,
    ),
    "mysql": Kind(
        MysqlAsk,
        "MySQL or MariaDB must let the user in. Queries such as `SELECT @@read_only` or "
        "`SHOW STATUS LIKE 'wsrep_ready'` (expect `wsrep_ready ON`) tell more.",
        (
            Option(
                "user", Text(), "The user; it needs no rights but to log in.", "user=probe", required=True
            ),
            Option("dbname", Text(), "The database.", "dbname=test", otherwise="none"),
            Option(
                "password",
                Secret(),
                "The password. `mysql_native_password` and `caching_sha2_password` are spoken.",
                "password=${PROBE_PASSWORD}",
                otherwise="an empty one",
            ),
            *_QUERY,
        ),
        _expect_needs_query,
    ),
    "tls": Kind(
        TlsAsk,
        "A TLS handshake must succeed; in a pool with `tls`, as that says unless `verify` or `sni` is given.",
        _TLS,
        _tls_contradictions,
    ),
    "http": Kind(HttpAsk, "A request must be answered as it should. Redirects are not followed.", _HTTP),
    "https": Kind(HttpsAsk, "The same over TLS.", (*_HTTP, *_TLS), _tls_contradictions),
    "script": Kind(
        ScriptAsk,
        "The steps below are taken in the order in which they are written.",
        _SCRIPT,
        _script_expects,
    ),
    "smtp": Kind(
        SmtpAsk,
        "A mail server must greet (220) and answer `EHLO` (250). We leave with `QUIT`.",
        (Option("helo", Helo(), "What we call ourselves.", "helo=proxy.example.com", default="localhost"),),
    ),
    "ftp": Kind(FtpAsk, "An FTP server must greet (220). We leave with `QUIT`."),
    "ldap": Kind(
        LdapAsk,
        "A simple bind must succeed. We leave with an unbind.",
        (
            Option(
                "user",
                Text(),
                "Bind as this user, given by its distinguished name.",
                "user=cn=probe,dc=example,dc=com",
                otherwise="an anonymous bind",
            ),
            Option("password", Secret(), "The password.", "password=${PROBE_PASSWORD}", otherwise="none"),
        ),
        _user_and_password,
    ),
    "command": Kind(
        CommandAsk,
        "A program must exit with 0; otherwise the last line that it writes is the reason. It finds the "
        "server in `PROXYD_SERVER_ADDR`, `PROXYD_SERVER_PORT`, `PROXYD_SERVER_NAME` and `PROXYD_POOL_NAME`. "
        "There is no shell. When the time is over it is killed, with all that it has started. At most 16 run "
        "at a time.",
        (
            Option(
                "path",
                File(),
                "The program.",
                "path=/usr/local/bin/probe",
                required=True,
            ),
            Option(
                "arg",
                Text(),
                "An argument. `{address}`, `{port}`, `{server}` and `{pool}` in it stand for the server's.",
                "arg=--host={address}",
                otherwise="no arguments",
                into="arguments",
            ),
        ),
    ),
    "python": Kind(
        PythonAsk,
        "A class of Python must find nothing wrong: it is made with the reactor, the address and a dict of "
        "the parameters, and its method `probe`, which may be an `async def`, must not raise anything. It "
        "runs in the daemon itself, so it must not block.",
        (
            Option(
                "probe",
                ClassPath(),
                "The class; it is imported at the start.",
                "probe=ourprobes.Queue",
                required=True,
            ),
            Option(
                "parameter",
                NamedValue(),
                "Something that the class is told.",
                "parameter=most=100",
                otherwise="an empty dict",
                into="parameters",
            ),
        ),
    ),
}

VARIANTS = tuple(Variant(name, kind.doc, kind.parameters) for name, kind in KINDS.items())
