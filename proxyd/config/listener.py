"""What did the operator ask of a listener?  The ``[listener NAME]`` section."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Optional, Union

from attrs import evolve, frozen

from proxyd.config import bandwidth, http, limits, minrate, starttls
from proxyd.config.action import OPTIONS as ACTION_OPTIONS
from proxyd.config.address import Bind, EndpointBind, TcpBind, UnixBind
from proxyd.config.bandwidth import BandwidthSpec
from proxyd.config.bind import Binds, own_tls
from proxyd.config.http import ALPN, HTTP, HttpSpec
from proxyd.config.limits import RateSpec
from proxyd.config.lists import ClientsForm, Rule
from proxyd.config.minrate import MinRateSpec
from proxyd.config.options import Choice, Count, Duration, Option, Reference, Several, YesNo
from proxyd.config.proxyprotocol import ProxyIn, Senders
from proxyd.config.refusal import SPOKEN, Refuse, RefuseSpec
from proxyd.config.route import OF_CONNECTIONS, OF_REQUESTS, TLS, RouteSpec
from proxyd.config.tcp import LISTENER_OPTIONS, UNTOUCHED, TcpSpec, for_unix
from proxyd.config.tls import PASSTHROUGH, Tls, TlsSpec
from proxyd.config.words import quoted

PROTOCOLS = ("tcp", HTTP)

_ACTIONS = tuple(option.into or option.name for option in ACTION_OPTIONS)

DATAPATHS = ("lane", "stock")


@frozen
class ListenerSpec:
    """
    One ``[listener]``: where it listens, what is spoken there, and where it leads.

    ``pool`` is for clients whom no route fits; if it is empty, they are closed.  ``routes`` are those that
    name this listener, in the order of the files.  ``tls`` is "passthrough", or how TLS ends at all of its
    addresses, or "".  ``access`` are the lines of ``allow`` and ``deny``; the first that names a client
    decides.  Times are seconds.
    """

    name: str
    binds: tuple[Bind, ...]
    pool: str = ""
    protocol: str = "tcp"
    idle_timeout: float = 600.0
    half_closed_timeout: float = 30.0
    abort_on_close: Optional[bool] = None  # as the protocol has it
    datapath: str = "lane"
    tls: Union[str, TlsSpec] = ""
    proxy_protocol: Optional[ProxyIn] = None
    opening_timeout: float = 5.0
    handshake_timeout: float = 10.0
    access: tuple[Rule, ...] = ()
    priority: int = 0
    speaks: str = ""
    starttls: str = "required"
    refuse: RefuseSpec = RefuseSpec()
    max_connections: int = 0
    max_connections_per_client: int = 0
    connection_rate: Optional[RateSpec] = None
    connection_rate_per_client: Optional[RateSpec] = None
    max_handshakes: int = 0
    max_lifetime: float = 0.0  # seconds
    client_prefix4: int = 32
    client_prefix6: int = 64
    bandwidth: Optional[BandwidthSpec] = None
    bandwidth_per_client: Optional[BandwidthSpec] = None
    min_rate: Optional[MinRateSpec] = None
    track: tuple[str, ...] = ()
    routes: tuple[RouteSpec, ...] = ()
    tcp: TcpSpec = UNTOUCHED
    tcp_info: bool = False
    http: HttpSpec = HttpSpec()

    @property
    def pools(self) -> tuple[str, ...]:
        """Where clients may be led, each pool once: those of the routes, and the one for the rest."""
        names = [*(route.pool for route in self.routes), self.pool]
        return tuple(name for name in dict.fromkeys(names) if name)

    @property
    def connection_routes(self) -> tuple[RouteSpec, ...]:
        """The routes for whole connections; those of HTTP are for requests."""
        return () if self.protocol == HTTP else self.routes

    @property
    def reads_opening(self) -> bool:
        """Whether anything depends on the client's first bytes; if not, they are never waited for."""
        return bool(self.tls == PASSTHROUGH or self.proxy_protocol or self.connection_routes)

    @property
    def reads_hello(self) -> bool:
        """Whether the ClientHello of those who speak TLS is read."""
        return self.tls == PASSTHROUGH or any(route.sni or route.alpn for route in self.connection_routes)

    def tls_at(self, bind: Bind) -> Optional[TlsSpec]:
        """How TLS ends at one of its addresses; None where it does not, or only Twisted knows."""
        own = own_tls(bind) or (self.tls if isinstance(self.tls, TlsSpec) else None)
        if own is not None and self.offers_tls and not own.alpn:
            return evolve(own, alpn=starttls.ALPN.get(self.speaks, ()))
        if own is not None and self.protocol == HTTP and not own.alpn:
            return evolve(own, alpn=ALPN)
        return own

    @property
    def ends_tls(self) -> bool:
        """Whether TLS ends at any of its addresses."""
        return any(self.tls_at(bind) for bind in self.binds)

    @property
    def offers_tls(self) -> str:
        """Whether TLS that ends here begins in the way of a protocol, and must (`proxyd.config.starttls`)."""
        ends = isinstance(self.tls, TlsSpec) and self.protocol != HTTP
        return starttls.offered(self.starttls, self.speaks) if ends else ""

    @property
    def tls_is_late(self) -> bool:
        """Whether that is when a server was chosen already, because servers greet first."""
        return bool(self.offers_tls) and starttls.is_late(self.speaks)

    @property
    def leaves_to_twisted(self) -> bool:
        """Whether any of its addresses is of a kind that only Twisted knows; TLS may end there."""
        return any(isinstance(bind, EndpointBind) for bind in self.binds)

    @property
    def header_before_tls(self) -> bool:
        """Whether a PROXY header comes before the TLS that ends here."""
        header = self.proxy_protocol
        return header is not None and not header.inside_tls and isinstance(self.tls, TlsSpec)

    @property
    def reads_inside(self) -> bool:
        """Whether a route goes by what is within the TLS that ends here."""
        return any(set(route.speaks) - {TLS} for route in self.routes)


INHERITED = (
    Option(
        "protocol",
        Choice(PROTOCOLS),
        "What clients speak. `tcp` relays any protocol as it is. With `http` (HTTP/1.0 and 1.1) each request "
        "is led to a server by itself, and one that could be understood in two ways goes nowhere.",
        "protocol = http",
        default="tcp",
    ),
    Option(
        "idle_timeout",
        Duration(),
        "A connection on which no byte has moved for so long, in either direction, is closed.",
        "idle_timeout = 1h",
        default="10m",
    ),
    Option(
        "half_closed_timeout",
        Duration(),
        "Once one side has finished sending, this takes the place of `idle_timeout`: when the other side "
        "has sent nothing for so long, the connection is closed.",
        "half_closed_timeout = 5m",
        default="30s",
    ),
    Option(
        "abort_on_close",
        YesNo(),
        "What it means when a client finishes sending before a server is reached. With `no` the client may "
        "still wait for the answer, and the server is told once it is reached; with `yes` the client has "
        "gone, and no server is bothered. With `protocol = http` it is about the time until the answer is "
        "complete, and what was asked of a server is taken back.",
        "abort_on_close = yes",
        otherwise="`no`, but `yes` with `protocol = http`, where hardly anybody half-closes",
    ),
    Option(
        "opening_timeout",
        Duration(),
        "Where `tls`, `proxy_protocol` or a route goes by what a client sends first, that is waited for so "
        "long. Then a client that owes a PROXY header or TLS is closed, and one that has sent nothing is "
        "`silent` to the routes. Elsewhere nothing is waited for.",
        "opening_timeout = 500ms",
        default="5s",
    ),
    Option(
        "handshake_timeout",
        Duration(),
        "Where TLS ends here, clients have so long for its handshake; then they are closed.",
        "handshake_timeout = 3s",
        default="10s",
    ),
    Option(
        "allow",
        ClientsForm("allow"),
        "These clients are let in. `allow` and `deny` may be given several times; the first line that names "
        "a client decides, in the order in which they are written. Whom no line names, for him holds the "
        "opposite of the last line: with `allow` lines alone the rest is denied, with `deny` lines alone it "
        "is let in. A listener that has any such line goes by none of `[proxyd]`. Where a PROXY header is "
        "taken from a balancer, the client that it tells of is judged, and not the balancer.",
        "allow = 10.0.0.0/8 @office",
        otherwise="everybody is let in",
        into="access",
    ),
    Option(
        "deny",
        ClientsForm("deny"),
        "These clients are closed before a byte of theirs is read (`denied`).",
        "deny = @blocked file:/etc/proxyd/blocked.txt",
        otherwise="nobody is denied, or the rest where there is an `allow`",
        into="access",
    ),
    Option(
        "speaks",
        Choice(SPOKEN),
        "What clients speak, so that one that gets no server is told so in its own protocol: with the error "
        "that servers have for too many connections, or with HTTP's 503, or a TLS alert. `starttls` goes by "
        "it as well, and nothing else does.",
        "speaks = pgsql",
        otherwise="they are closed without a word",
    ),
    Option(
        "refuse",
        Refuse(),
        "How clients are turned away that may not come in. `close`: in order; `reset`: by a reset; `drop`: "
        "without a word, so that the client waits (this needs CAP_NET_ADMIN; otherwise a reset is sent that "
        "gets no further than the first router); `tarpit`: the client is kept waiting. Clients that have "
        "been let in, and get no server after all, are told why if there is `speaks`, and otherwise closed "
        "or, with all but `close`, reset.",
        "refuse = tarpit hold=2m",
        default="close",
    ),
    Option(
        "priority",
        Count(0, 9),
        "Where clients wait for a server that has room, those of listeners of a lower number come first.",
        "priority = 1",
        default="0",
    ),
    Option(
        "datapath",
        Choice(DATAPATHS),
        "What moves the bytes. `lane` is proxyd's own event loop on Linux; `stock` is Twisted's, which is "
        "slower, and which serves anyway where the lane cannot run.",
        "datapath = stock",
        default="lane",
    ),
    Option(
        "tcp_info",
        YesNo(),
        "The access log says of each connection what the kernel knew of its two sides at the end (TCP_INFO): "
        "round trips, segments sent again, windows.",
        "tcp_info = yes",
        default="no",
    ),
    *bandwidth.OPTIONS,
    *minrate.OPTIONS,
    *LISTENER_OPTIONS,
)

OPTIONS = (
    Option("bind", Binds(), "Where clients connect.", "bind = tcp:5432", required=True),
    Option(
        "pool",
        Reference("pool"),
        "Which servers clients are led to, unless a route fits them.",
        "pool = postgres",
        otherwise="clients whom no route fits are closed; a listener without routes must have a pool",
    ),
    Option(
        "tls",
        Tls(),
        "What is done with clients' TLS. `passthrough`: only TLS is let in, and it goes to the server as it "
        "came; routes go by the name and the protocols in it (`sni`, `alpn`). With certificates, TLS ends "
        "here, at all addresses of the listener, and servers get what is within it. In a file a certificate "
        "stands before those who have issued it; its key is in the same file, in `NAME.key` beside "
        "`NAME.crt`, or in `privkey.pem` in the same folder. Of a folder all files are read that end with "
        ".pem, .crt, .cer or .cert, and those of the folders in it, as certbot makes them. When they change "
        "they are read again.",
        "tls = /etc/proxyd/certs alpn=h2,http/1.1",
        otherwise="TLS is relayed like anything else, and so is what is not TLS",
    ),
    starttls.OPTION,
    Option(
        "proxy_protocol",
        Senders(),
        "Clients are proxies that begin with a PROXY header (version 1 or 2), which says who their own "
        "client is. It is taken only from those that are listed here, or anybody could claim any address.",
        "proxy_protocol = 10.0.0.0/8 fd00::/8",
        otherwise="no header is looked for; the client is who connects",
    ),
    *limits.OPTIONS,
    Option(
        "track",
        Several(Reference("counters")),
        "Clients are counted in these `[counters]`, whose rules hold for them.",
        "track = clients",
        otherwise="nothing is counted",
    ),
    *http.OPTIONS,
    *INHERITED,
)


def contradictions(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What does not go together in a listener: each an option, and what is wrong with it."""
    yield from http.contradictions(given)
    header = given.get("proxy_protocol")
    if given.get("bind") and all(isinstance(bind, UnixBind) for bind in given["bind"]):
        yield from for_unix(given)
    tls = given.get("tls")
    for bind in given.get("bind", ()):
        own = own_tls(bind) is not None
        if own and tls == PASSTHROUGH:
            yield "tls", f"{quoted(bind.text)} ends TLS itself; bind to a tcp: address to pass it through"
        elif own and tls:
            yield (
                "tls",
                f"{quoted(bind.text)} ends TLS as it says itself; bind to a tcp: address",
            )
        elif isinstance(bind, EndpointBind) and isinstance(tls, TlsSpec):
            yield "tls", f"{quoted(bind.text)} is Twisted's, and cannot be made to end TLS"
        ended = own or isinstance(tls, TlsSpec)
        if own and header and not header.inside_tls:
            yield (
                "proxy_protocol",
                f"{quoted(bind.text)} reads no header before TLS; bind to a tcp: address, and give tls = "
                "its certificates; or, if the header comes inside, add inside_tls",
            )
        if header and not header.optional and not header.unix and isinstance(bind, UnixBind):
            yield "proxy_protocol", f"lists nobody who could come to {quoted(bind.text)}; add unix"
        if header and not header.optional and not header.trusted and isinstance(bind, TcpBind):
            yield "proxy_protocol", f"lists nobody who could come to {quoted(bind.text)}; add networks"
        if not ended and not isinstance(bind, EndpointBind) and header and header.inside_tls:
            yield "proxy_protocol", f"inside_tls: {quoted(bind.text)} does not end TLS, so there is no inside"


def unmet(given: Mapping[str, Any], route: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Which conditions of a route no client of a listener meets: each an option of the route, and why."""
    if given.get("protocol") == HTTP:
        for option in OF_CONNECTIONS:
            if option in route and (option == "speaks" or not ends_tls(given)):
                yield option, "speaks HTTP, so nothing else is read of its clients"
        return
    for option in (*OF_REQUESTS, *_ACTIONS):
        if option in route:
            yield option, "does not speak HTTP, so there are no requests; write protocol = http there"
    if given.get("tls") == PASSTHROUGH:
        others = [word for word in route.get("speaks", ()) if word != TLS]
        if others:
            yield "speaks", f"lets in only TLS, so {quoted(others[0])} is never met there"
    offered = [tls.alpn for tls in _endings(given)]
    missing = [name for name in route.get("alpn", ()) if not any(name in names for names in offered)]
    if missing and offered and len(offered) == len(given.get("bind", ())):
        name = missing[0].decode("utf-8", "backslashreplace")
        yield "alpn", f"ends TLS, and its alpn= does not have {quoted(name)}, so nobody comes with it"


def ends_tls(given: Mapping[str, Any]) -> bool:
    """Whether TLS ends at any of the addresses of a listener."""
    return bool(_endings(given))


def _endings(given: Mapping[str, Any]) -> list[TlsSpec]:
    """How TLS ends at those addresses of a listener where it does."""
    tls = given.get("tls")
    found = [own_tls(bind) or tls for bind in given.get("bind", ())]
    return [one for one in found if isinstance(one, TlsSpec)]
