"""
How does TLS towards servers begin?

Pools that ask for the same share a context, which is made anew when one of its files has changed.  Each
server has its sessions: one that a connection leaves behind is taken up by the next, as long as the context
is the same and the server's certificate was judged less than an hour ago.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timezone
from typing import Any, Callable, Collection, Optional, Sequence
from weakref import WeakKeyDictionary

from attrs import evolve
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import classImplements

from proxyd.config.address import TcpAddress
from proxyd.config.pool import PoolSpec
from proxyd.config.servertls import CLIENT, NO_SNI, ServerTlsSpec, is_ip_address
from proxyd.errors import DialFailed, Problem, Reason
from proxyd.interfaces import ITLSClient
from proxyd.policy.server import Server
from proxyd.relay.tls.certificate import public_key
from proxyd.relay.tls.files import Pem, read_pem
from proxyd.relay.tls.verification import Asking, judge
from proxyd.relay.tls.words import RESUMED

Key = tuple[str, str]  # the name that is verified, and the one that is asked for

JUDGED_SECONDS = 3600.0  # after which a server shows its certificate again, whatever sessions there are

MOST_SESSIONS = 64  # of one server: one for each name that it is asked for

_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}

# That a server ends without close_notify is its affair, as in HAProxy and nginx: the protocol within tells
# whether something is missing.
_OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_IGNORE_UNEXPECTED_EOF


class Unfit(Exception):
    """A context cannot be made as it is asked for; the text says why."""


class ServerTls:
    """TLS towards the servers of some pools."""

    def __init__(self, pools: Sequence[PoolSpec], seconds: Callable[[], float]) -> None:
        """``seconds`` tells the time."""
        self._specs: dict[
            ServerTlsSpec, tuple[str, ServerTlsSpec]
        ] = {}  # with the pool where it is first met
        for pool in pools:
            for server in pool.servers:
                if server.tls is not None:
                    self._specs.setdefault(_terms(server.tls), (pool.name, server.tls))
        self._seconds = seconds
        self.changed = 0.0  # when files were last read again
        self._contexts: dict[ServerTlsSpec, SSL.Context] = {}
        self._towards: WeakKeyDictionary[Server, Towards] = WeakKeyDictionary()

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it stands on."""
        return tuple(dict.fromkeys(path for terms in self._specs for path in terms.files))

    def load(self, changed: Optional[Collection[str]] = None) -> list[str]:
        """
        Make the contexts that stand on files which have changed, or all of them.

        A line is returned for each that cannot be made; if it was there before, that one holds.
        """
        wrong: list[str] = []
        if changed is not None:
            self.changed = self._seconds()
        for terms, (pool, spec) in self._specs.items():
            if changed is None or any(path in changed for path in terms.files):
                try:
                    self._contexts[terms] = make_context(spec)
                except Unfit as why:
                    wrong.append(str(Problem(spec.path, spec.line, str(why), f"pool {pool}", "tls")))
        return wrong

    def towards(self, server: Server) -> Towards:
        """What TLS towards a server begins with; only for one that is to have it."""
        found = self._towards.get(server)
        if found is None:
            assert server.tls is not None
            found = self._towards[server] = Towards(self, server.tls, self._seconds)
        found.host = _host(server)  # which may be found by another name than before
        return found

    def context(self, spec: ServerTlsSpec) -> SSL.Context:
        """The context for a spec, as it is now."""
        return self._contexts[_terms(spec)]


class Sessions:
    """The sessions with one server that can be taken up, by whom it was to be and what it was asked for."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        # With each session its context, and when the certificate behind it was judged.
        self._kept: OrderedDict[Key, tuple[SSL.Session, SSL.Context, float]] = OrderedDict()

    def take_up(self, connection: SSL.Connection, key: Key) -> None:
        """Let a connection begin with the session that there is, if it is of use."""
        kept = self._kept.get(key)
        if kept is None:
            return
        session, context, judged_at = kept
        if context is connection.get_context() and self._seconds() - judged_at < JUDGED_SECONDS:
            connection.set_session(session)
        else:
            del self._kept[key]

    def forget(self, key: Key) -> None:
        """There is nothing to take up any more."""
        self._kept.pop(key, None)

    def keep(self, connection: Asking, key: Key) -> None:
        """Keep the session of a connection that has ended."""
        session, context, before = connection.get_session(), connection.get_context(), self._kept.get(key)
        if session is None:
            return
        if connection.judged:
            judged_at = self._seconds()
        elif before is not None and before[1] is context:
            judged_at = before[2]
        else:
            return
        self._kept[key] = (session, context, judged_at)
        self._kept.move_to_end(key)
        if len(self._kept) > MOST_SESSIONS:
            self._kept.popitem(last=False)


class Towards:
    """One server: what it is called, and what its sessions are."""

    def __init__(self, tls: ServerTls, spec: ServerTlsSpec, seconds: Callable[[], float]) -> None:
        self.host = ""
        self._tls = tls
        self._spec = spec
        self._sessions = Sessions(seconds) if spec.reuse else None

    def handshake(self, asked: str = "", anew: bool = False) -> Handshake:
        """
        What a connection begins with; ``asked`` is the name that its client asks for, if it does.

        One that begins ``anew`` takes up no session, so that the server shows its certificate.
        """
        spec = self._spec
        name = spec.name or (asked if spec.sni == CLIENT and asked else self.host)
        assert name or not spec.verify  # or anybody would do; the configuration has seen to it
        sni = spec.sni or name
        if spec.sni == CLIENT:
            sni = asked or name
        if spec.sni == NO_SNI:
            sni = ""
        sessions = None if anew else self._sessions
        return Handshake(self._tls.context(spec), name if spec.verify else "", sni, sessions)


class Handshake:
    """
    The beginning of TLS with one server, for one dial.

    ``name`` is what its certificate must be for, empty if anybody will do, and ``sni`` what is asked for, if
    that is not empty.
    """

    __slots__ = ("_context", "_latest", "_name", "_sessions", "_sni", "agreed", "preface")

    def __init__(
        self, context: SSL.Context, name: str, sni: str, sessions: Optional[Sessions] = None
    ) -> None:
        self._context = context
        self._name = name
        self._sni = "" if is_ip_address(sni) else sni  # RFC 6066, section 3
        self._sessions = sessions
        self._latest: Optional[Asking] = None
        self.preface = b""  # what goes to the server before TLS
        self.agreed = ""  # on which version and cipher, and whether a session was taken up

    def connection(self, skt: Any) -> Asking:
        """
        A connection in which TLS is about to begin, on a connected socket, or with None over buffers.

        The certificate is judged in the handshake itself, which fails if it is not what it should be;
        `proxyd.relay.tls.verification.why` has the reason.
        """
        self._latest = connection = Asking(self._context, skt, self._name)
        if self._sni:
            connection.set_tlsext_host_name(self._sni.encode("ascii"))
        if self._sessions is not None:
            self._sessions.take_up(connection, (self._name, self._sni))
        return connection

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """The same, for Twisted."""
        return self.connection(None)

    @property
    def begun(self) -> bool:
        """Whether a server has accepted a connection."""
        return self._latest is not None

    @property
    def problem(self) -> str:
        """What is wrong with the certificate that was shown last; empty if nothing is."""
        return self._latest.problem if self._latest is not None else ""

    def told(self, failed: DialFailed) -> DialFailed:
        """The same failure; if it is the certificate, with what is wrong with that."""
        wrong = self.problem if failed.reason is Reason.CONNECT_TLS else ""
        return DialFailed(failed.reason, wrong) if wrong else failed

    def established(self, ssl: Asking) -> None:
        """The handshake stands, in which the server has been judged (`ITLSClient`)."""
        self.agreed = f"{ssl.get_protocol_version_name()}/{ssl.get_cipher_name()}"
        if not ssl.judged:
            self.agreed += RESUMED

    def failed(self, detail: str) -> None:
        """The handshake has failed: what was agreed on with this server before is of no use."""
        if self._sessions is not None:
            self._sessions.forget((self._name, self._sni))

    def ended(self, ssl: Asking) -> None:
        """A connection in which the handshake stood has ended: keep its session."""
        # When a connection is freed that was not shut, OpenSSL takes its session out of use for everybody.
        ssl.set_shutdown(SSL.SENT_SHUTDOWN | ssl.get_shutdown())
        if self._sessions is not None and _can_be_taken_up(ssl):
            self._sessions.keep(ssl, (self._name, self._sni))


classImplements(Handshake, ITLSClient, IOpenSSLClientConnectionCreator)


def _can_be_taken_up(ssl: SSL.Connection) -> bool:
    """
    Whether its session can be.

    With TLS 1.3 that is by a ticket, which comes some time after the handshake; a session has no secret of
    its own before (RFC 8446, section 4.6.1).
    """
    try:
        return ssl.master_key() is not None
    except SSL.Error:
        return False


def _terms(spec: ServerTlsSpec) -> ServerTlsSpec:
    """What a context is made of: the same for servers that differ in their names."""
    return evolve(spec, name="", sni="", reuse=True, starttls="")


def _host(server: Server) -> str:
    """What a server is called by its address; empty for one on a unix socket."""
    address = server.origin or server.address
    if isinstance(address, TcpAddress):
        return address.host.rstrip(".").lower()
    return ""


def make_context(spec: ServerTlsSpec) -> SSL.Context:
    """The context for a spec.  Raises `Unfit`."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_options(_OPTIONS)
    context.set_min_proto_version(_VERSIONS[spec.minimum])
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_verify(SSL.VERIFY_PEER, judge)
    if spec.ciphers:
        try:
            context.set_cipher_list(spec.ciphers.encode("utf-8"))
        except SSL.Error:
            raise Unfit(
                f"ciphers={spec.ciphers} leaves no cipher that OpenSSL knows; see ciphers(1)"
            ) from None
    if spec.alpn:
        context.set_alpn_protos(list(spec.alpn))
    if spec.verify:
        _trust(context, spec.ca)
    if spec.certificate:
        _show(context, spec.certificate, spec.key or spec.certificate)
    return context


def _trust(context: SSL.Context, path: str) -> None:
    if not path:
        context.set_default_verify_paths()
        return
    store = context.get_cert_store()
    assert store is not None
    for certificate in _read(path, certificates=True).certificates:
        store.add_cert(crypto.X509.from_cryptography(certificate))


def _show(context: SSL.Context, path: str, key_path: str) -> None:
    first, *rest = _read(path, certificates=True).certificates
    if not first.not_valid_after_utc > datetime.now(timezone.utc):
        raise Unfit(f"{path}: expired on {first.not_valid_after_utc:%Y-%m-%d}")
    public = public_key(first)
    fit = [key for key in _read(key_path, certificates=False).keys if key.public_key() == public]
    if not fit:
        raise Unfit(f"{key_path}: the private key does not belong to the first certificate in {path}")
    try:
        context.use_certificate(first)
        for certificate in rest:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(fit[0])  # type: ignore[arg-type]
    except (SSL.Error, TypeError) as error:
        raise Unfit(f"{path}: OpenSSL refuses it: {error}") from None


def _read(path: str, certificates: bool) -> Pem:
    """What is in a file, which must have certificates or, if they are not wanted, a private key."""
    pem = read_pem(path)
    if pem.troubles:
        raise Unfit(str(pem.troubles[0]))
    if certificates and not pem.certificates:
        raise Unfit(f"{path}: has no certificate in PEM (-----BEGIN CERTIFICATE-----)")
    if not certificates and not pem.keys:
        raise Unfit(f"{path}: has no private key in PEM (-----BEGIN PRIVATE KEY-----)")
    return pem
