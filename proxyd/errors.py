"""
What can go wrong, and whose fault is it?

Every connection ends with one `Reason`.  Its code is the word that operators meet in the access log,
in the metrics and in messages; its fault says where to look first.
"""

from __future__ import annotations

import enum

from attrs import frozen


class Fault(enum.Enum):
    """Whose doing the end of a connection was."""

    NOBODY = "nobody"
    CLIENT = "client"
    SERVER = "server"
    PROXY = "proxy"


class Reason(enum.Enum):
    """Why a connection ended: a code, whose fault it was, and a sentence for people."""

    code: str
    fault: Fault
    text: str

    CLIENT_FINISHED = ("client_finished", Fault.NOBODY, "both sides finished, the client first")
    SERVER_FINISHED = ("server_finished", Fault.NOBODY, "both sides finished, the server first")
    CLIENT_RESET = ("client_reset", Fault.CLIENT, "the client's side was reset or lost")
    SERVER_RESET = ("server_reset", Fault.SERVER, "the server's side was reset or lost")
    CLIENT_GONE = ("client_gone", Fault.CLIENT, "the client left before a server was reached")
    IDLE_TIMEOUT = ("idle_timeout", Fault.NOBODY, "no byte in either direction for idle_timeout")
    CLIENT_STALLED = (
        "client_stalled",
        Fault.CLIENT,
        "the client took nothing of what it was sent, for idle_timeout or half_closed_timeout",
    )
    SERVER_STALLED = (
        "server_stalled",
        Fault.SERVER,
        "the server took nothing of what it was sent, for idle_timeout or half_closed_timeout",
    )
    CLIENT_TOO_SLOW = (
        "client_too_slow",
        Fault.CLIENT,
        "the client took what it was sent, or sent without being answered, more slowly than min_rate",
    )
    SERVER_TOO_SLOW = (
        "server_too_slow",
        Fault.SERVER,
        "the server took what it was sent more slowly than min_rate",
    )
    CLIENT_UNFINISHED = (
        "client_unfinished",
        Fault.CLIENT,
        "the server finished, and the client was silent for half_closed_timeout",
    )
    SERVER_UNFINISHED = (
        "server_unfinished",
        Fault.SERVER,
        "the client finished, and the server was silent for half_closed_timeout",
    )
    DENIED = ("denied", Fault.CLIENT, "allow and deny of the listener do not let the client in")
    BANNED = ("banned", Fault.CLIENT, "the client's address was banned while the daemon runs")
    OPENING_TIMEOUT = (
        "opening_timeout",
        Fault.CLIENT,
        "the client did not finish TLS within handshake_timeout, or send what decides within opening_timeout",
    )
    PROXY_UNTRUSTED = (
        "proxy_untrusted",
        Fault.CLIENT,
        "a PROXY header, or a connection that must begin with one, came from an address that is not trusted",
    )
    PROXY_MALFORMED = (
        "proxy_malformed",
        Fault.CLIENT,
        "the connection did not begin with the PROXY header that it must begin with",
    )
    TLS_MALFORMED = ("tls_malformed", Fault.CLIENT, "the connection did not begin with a TLS ClientHello")
    TLS_REQUIRED = ("tls_required", Fault.CLIENT, "the client went on without TLS, which starttls requires")
    STARTTLS_MALFORMED = (
        "starttls_malformed",
        Fault.CLIENT,
        "the client did not keep to its protocol before TLS, or said more behind its wish for it",
    )
    STARTTLS_REFUSED = (
        "starttls_refused",
        Fault.SERVER,
        "the server would not begin TLS, or did not keep to its protocol before it",
    )
    STARTTLS_LOGIN = (
        "starttls_login",
        Fault.PROXY,
        "a login that works only where both sides have TLS, or neither has",
    )
    TLS_HANDSHAKE = ("tls_handshake", Fault.CLIENT, "the TLS handshake with the client failed")
    ACME_CHALLENGE = (
        "acme_challenge",
        Fault.NOBODY,
        "it was an authority that looks, by tls-alpn-01, whether a name is ours",
    )
    ANSWERED = ("answered", Fault.NOBODY, "the request got its whole answer")
    REQUEST_MALFORMED = (
        "request_malformed",
        Fault.CLIENT,
        "the client sent a request that could be understood in two ways, or not at all",
    )
    REQUEST_TIMEOUT = ("request_timeout", Fault.CLIENT, "the client did not finish its request in time")
    ANSWER_MALFORMED = (
        "answer_malformed",
        Fault.SERVER,
        "the server sent an answer that could be understood in two ways, or not at all",
    )
    ANSWER_TIMEOUT = (
        "answer_timeout",
        Fault.SERVER,
        "the server did not begin its answer within response_timeout, or went silent in it for idle_timeout",
    )
    NO_ANSWER = (
        "no_answer",
        Fault.SERVER,
        "the server closed the connection without an answer to the request",
    )
    ANSWER_CUT = ("answer_cut", Fault.SERVER, "the server closed the connection in the midst of its answer")
    FILE_CHANGED = (
        "file_changed",
        Fault.PROXY,
        "a file of root or of a cache was replaced or became shorter while it was being sent",
    )
    ROUTE_RATE = ("route_rate", Fault.CLIENT, "more requests came than a rate of the route allows")
    ROUTE_FULL = ("route_full", Fault.PROXY, "the route had its max_concurrent_requests")
    UNAUTHORIZED = (
        "unauthorized",
        Fault.CLIENT,
        "who asked had no right password, or the service of forward_auth said no",
    )
    AUTH_FAILED = (
        "auth_failed",
        Fault.SERVER,
        "it could not be known who asked: forward_auth did not answer, or too many passwords waited",
    )
    ROUTE_UNDECIDED = (
        "route_undecided",
        Fault.PROXY,
        "a pattern of a route took too long to be searched for",
    )
    BODY_TOO_LARGE = ("body_too_large", Fault.CLIENT, "the body of the request was longer than max_body")
    NO_ROUTE = ("no_route", Fault.CLIENT, "no route fits, and the listener has no pool for the rest")
    CONNECT_REFUSED = ("connect_refused", Fault.SERVER, "the server refused the connection")
    CONNECT_TIMEOUT = (
        "connect_timeout",
        Fault.SERVER,
        "the server did not answer within connect_timeout",
    )
    CONNECT_FAILED = ("connect_failed", Fault.SERVER, "the server could not be reached")
    CONNECT_TLS = ("connect_tls", Fault.SERVER, "the TLS handshake with the server failed")
    NAME_FAILED = ("name_failed", Fault.SERVER, "the server's name did not resolve")
    NO_SERVER = ("no_server", Fault.SERVER, "no server of the pool was up")
    MAINTENANCE = ("maintenance", Fault.PROXY, "the pool was in maintenance, and the client not let in")
    LISTENER_FULL = ("listener_full", Fault.PROXY, "the listener had its max_connections")
    LISTENER_RATE = (
        "listener_rate",
        Fault.PROXY,
        "more came than the connection_rate of the listener allows",
    )
    HANDSHAKES = ("handshakes", Fault.PROXY, "max_handshakes clients were in the midst of their openings")
    CLIENT_FULL = ("client_full", Fault.CLIENT, "the client had its max_connections_per_client")
    CLIENT_RATE = (
        "client_rate",
        Fault.CLIENT,
        "the client came more often than its connection_rate_per_client",
    )
    RULE_DENIED = ("rule_denied", Fault.CLIENT, "a rule of counters says that the client went too far")
    LIFETIME = ("lifetime", Fault.NOBODY, "the connection had lasted for max_lifetime")
    QUEUE_FULL = (
        "queue_full",
        Fault.SERVER,
        "all servers had their max_connections, and too many waited already, or others had fewer waiting",
    )
    QUEUE_TIMEOUT = ("queue_timeout", Fault.SERVER, "no server had room within the wait of the pool's queue")
    SERVER_DOWN = (
        "server_down",
        Fault.SERVER,
        "the server went down, was taken into maintenance or removed, and on_down closes its connections",
    )
    FAILBACK = (
        "failback",
        Fault.NOBODY,
        "backups are needed no more, and on_up closes their connections",
    )
    LOCAL_PORTS = ("local_ports", Fault.PROXY, "no local port was left for a connection to the server")
    SOURCE_FAILED = (
        "source_failed",
        Fault.PROXY,
        "the connection to the server could not have its source, its interface or another setting of TCP",
    )
    DESCRIPTORS = ("descriptors", Fault.PROXY, "the process had no file descriptor left")
    SHED = ("shed", Fault.PROXY, "the proxy had too much to do, by a mark of shed, and this had to go")
    DRAINED = ("drained", Fault.PROXY, "the proxy stopped, and drain_timeout had run out")
    INTERNAL = ("internal", Fault.PROXY, "a fault in the proxy itself; the log has the traceback")

    def __init__(self, code: str, fault: Fault, text: str) -> None:
        self.code = code
        self.fault = fault
        self.text = text


@frozen
class Problem:
    """One thing that is wrong in a configuration, and where: ``file:line: [section] option: text``."""

    path: str
    line: int
    text: str
    section: str = ""
    option: str = ""

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}: " if self.line else f"{self.path}: "
        if self.section:
            place += f"[{self.section}] "
        if self.option:
            place += f"{self.option}: "
        return place + self.text


class ConfigError(Exception):
    """The operator's configuration cannot be used; carries every problem that was found."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class StartError(Exception):
    """The daemon cannot start (a port is taken, a log cannot be opened); carries a line for each cause."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class DialFailed(Exception):
    """
    A server could not be reached; the reason says how, the detail is the system's own word for it.

    ``errno`` is the system's number for it, or 0 if the system has not said it.
    """

    def __init__(self, reason: Reason, detail: str, errno: int = 0) -> None:
        super().__init__(f"{reason.code}: {detail}")
        self.reason = reason
        self.detail = detail
        self.errno = errno


class Refused(Exception):
    """A client gets no server; the reason says why, the detail what was found."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.code}: {detail}")
        self.reason = reason
        self.detail = detail


class IllegalMove(ValueError):
    """A server cannot do that in the state that it has; says which."""


class Malformed(Exception):
    """What a peer has sent is not what the protocol allows; says what was found."""
