"""A TLS server without a network, and what a test of TLS with servers begins with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

from OpenSSL import SSL
from twisted.internet.task import Clock

from proxyd.config.address import Address, TcpAddress
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.servertls import ServerTlsSpec
from proxyd.policy.server import Server
from proxyd.relay.tls.server import Handshake, ServerTls, Towards
from proxyd.relay.tls.verification import Asking, why
from tests.support.authority import Authority, Issued
from tests.support.case import Case

HOST = "db.example.com"
THERE = TcpAddress(HOST, 1)
OURS = Authority("Our CA")


class Peer:
    """A TLS server without a network."""

    def __init__(
        self,
        issued: Issued,
        folder: Path,
        alpn: bytes = b"",
        clients: Optional[Authority] = None,
        most: int = SSL.TLS1_3_VERSION,
        ciphers: bytes = b"",
    ) -> None:
        self.asked: Optional[bytes] = None
        self.offered: list[bytes] = []
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        path = issued.write(folder / "server.pem")
        self.context.use_certificate_chain_file(path)
        self.context.use_privatekey_file(path)
        self.context.set_session_id(b"peer")
        self.context.set_max_proto_version(most)
        if ciphers:
            self.context.set_cipher_list(ciphers)
        if clients is not None:
            self.context.load_verify_locations(clients.write(folder / "clients.pem"))
            flags = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
            self.context.set_verify(flags, lambda *found: bool(found[-1]))
        if alpn:
            self.context.set_alpn_select_callback(lambda _, offered: self._choose(alpn, offered))

    def _choose(self, alpn: bytes, offered: list[bytes]) -> Any:
        self.offered = offered
        return alpn if alpn in offered else SSL.NO_OVERLAPPING_PROTOCOLS

    def connection(self) -> SSL.Connection:
        connection = SSL.Connection(self.context, None)
        connection.set_accept_state()
        return connection


def carry(one: SSL.Connection, other: SSL.Connection) -> bool:
    """Carry what the one has to say to the other."""
    try:
        other.bio_write(one.bio_read(65536))
    except SSL.WantReadError:
        return False
    return True


def talk(handshake: Handshake, peer: Peer, heard: bool = True, ended: bool = True) -> Asking:
    """A handshake, whatever the server has to say then unless it is not ``heard``, and the end."""
    ours, theirs = handshake.connection(None), peer.connection()
    done = [False, False]
    error: Optional[SSL.Error] = None
    for _ in range(10):
        for place, (side, other) in enumerate(((ours, theirs), (theirs, ours))):
            if not done[place]:
                try:
                    side.do_handshake()
                    done[place] = True
                except SSL.WantReadError:
                    pass
                except SSL.Error as failed:
                    if side is ours:
                        error = failed
                    done[place] = True
            if side is ours or not all(done):
                carry(side, other)
        if all(done):
            break
    peer.asked = theirs.get_servername()
    if error is not None:
        handshake.failed(str(error))
        raise Shown(why(ours, error))
    handshake.established(ours)
    if heard:
        theirs.send(b"welcome")
        carry(theirs, ours)
        ours.recv(100)
    if ended:
        handshake.ended(ours)
    return ours


class Shown(Exception):
    """Why a handshake failed."""


class ServerTlsCase(Case):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.clock = Clock()
        self.ca = OURS.write(self.folder / "ca.pem")

    def loaded(self, spec: ServerTlsSpec) -> ServerTls:
        pool = PoolSpec("p", (ServerSpec("a", TcpAddress(HOST, 1), tls=spec),))
        tls = ServerTls([pool], self.clock.seconds)
        self.assertEqual(tls.load(), [])
        return tls

    def towards(self, address: Address = THERE, origin: Optional[TcpAddress] = None, **what: Any) -> Towards:
        spec = ServerTlsSpec(**{"ca": self.ca if what.get("verify", True) else "", **what})
        server = Server("a", address, origin=origin, tls=spec)
        self.keep = server
        return self.loaded(spec).towards(server)

    def peer(self, *names: str, **what: Any) -> Peer:
        return Peer(OURS.issue(*(names or (HOST,))), self.folder, **what)

    def refusal(self, towards: Towards, peer: Peer, asked: str = "") -> str:
        """Why there is no TLS."""
        with self.assertRaises(Shown) as caught:
            talk(towards.handshake(asked), peer)
        return str(caught.exception)
