"""Is a handshake enough, and is a certificate judged as it was asked for?"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.protocols.tls import TLSMemoryBIOFactory

from proxyd.config.address import TcpAddress
from proxyd.config.probes import TcpAsk, TlsAsk
from proxyd.config.servertls import ServerTlsSpec
from proxyd.relay.lane.datapath import Lane
from proxyd.relay.tls.server import Handshake, make_context
from proxyd.upkeep.probes import tcp, tls
from proxyd.upkeep.probes.conversation import Call, Failed, Unable
from tests.support.case import AsyncCase
from tests.support.certificate import key_and_certificate
from tests.support.driven import driven
from tests.support.walltime import SetTime

reactor: Any = installed_reactor

HEADER = b"PROXY UNKNOWN\r\n"


class AfterHeader(Protocol):
    """Wants a PROXY header, then TLS."""

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped
        self.heard = b""

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        if self.heard.startswith(HEADER):
            self.transport.protocol = self.wrapped  # type: ignore[union-attr]
            self.wrapped.makeConnection(self.transport)
            self.wrapped.dataReceived(self.heard[len(HEADER) :])


class TlsTests(AsyncCase):
    def setUp(self) -> None:
        self.pem = key_and_certificate("localhost")
        self.ca = self.mktemp()
        with open(self.ca, "wb") as file:
            file.write(self.pem)
        self.names: list[Any] = []

    def listen(self, factory: Any) -> TcpAddress:
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return TcpAddress("127.0.0.1", port.getHost().port)

    def server(self) -> TLSMemoryBIOFactory:
        """A server of TLS that notes which name it is asked for."""
        context = PrivateCertificate.loadPEM(self.pem).options()
        context.getContext().set_tlsext_servername_callback(
            lambda connection: self.names.append(connection.get_servername())
        )
        return TLSMemoryBIOFactory(context, False, Factory.forProtocol(Protocol))

    async def probe(self, address: TcpAddress, greeting: bytes = b"", **asked: Any) -> str:
        lane = Lane(reactor)
        self.addCleanup(lane.close)
        call = Call(reactor, SetTime(reactor.seconds), lane, address, greeting=greeting)
        return await driven(tls.probe(call, TlsAsk(**asked)))

    async def fails(self, why: str, **asked: Any) -> None:
        address = self.listen(self.server())
        failed = await self.assertFailure(driven(self.probe(address, **asked)), Failed)
        self.assertEqual(str(failed), why)

    async def test_handshake(self) -> None:
        """Whoever agrees on TLS passes, whatever the certificate; a name is asked for if one is given."""
        address = self.listen(self.server())
        self.assertEqual(await self.probe(address), "")
        self.assertEqual(await self.probe(address, sni="www.example"), "")
        self.assertEqual(self.names, [None, b"www.example"])

    async def test_verified(self) -> None:
        """A certificate for the name, from one who is trusted, passes; the name is asked for."""
        address = self.listen(self.server())
        self.assertEqual(await self.probe(address, verify="localhost", ca=self.ca), "")
        self.assertEqual(self.names, [b"localhost"])

    async def test_another_name(self) -> None:
        """A certificate for another name fails."""
        await self.fails(
            "its certificate is for localhost, not for example.com", verify="example.com", ca=self.ca
        )

    async def test_not_trusted(self) -> None:
        """A certificate from somebody whom the system does not know fails."""
        await self.fails("its certificate is signed by itself, and not in ca", verify="localhost")

    async def test_expiry(self) -> None:
        """A certificate that expires soon is remarked upon, and passes."""
        address = self.listen(self.server())
        self.assertEqual(await self.probe(address, expiry=3600.0), "")
        remark = await self.probe(address, expiry=7 * tls.DAY)
        self.assertEqual(remark, "its certificate expires in 0 days")

    async def test_header(self) -> None:
        """The PROXY header comes before the handshake, in clear."""
        wrapped = self.server()

        class Opening(Factory):
            def buildProtocol(self, addr: Any) -> AfterHeader:
                return AfterHeader(wrapped.buildProtocol(addr))

        self.assertEqual(await self.probe(self.listen(Opening()), greeting=HEADER), "")

    async def test_other_protocols(self) -> None:
        """A server that speaks something else fails."""

        class Talking(Protocol):
            def connectionMade(self) -> None:
                self.transport.write(b"SSH-2.0-OpenSSH\r\n")  # type: ignore[union-attr]

        class Closing(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.loseConnection()  # type: ignore[union-attr]

        for protocol, why in (
            (Talking, "TLS: the server does not speak it (wrong version number)"),
            (Closing, "closed the connection with no end of the TLS handshake"),
        ):
            address = self.listen(Factory.forProtocol(protocol))
            failed = await self.assertFailure(driven(self.probe(address)), Failed)
            self.assertEqual(str(failed), why)

    def test_authorities(self) -> None:
        """A file of authorities that cannot be used is our own fault."""
        empty, broken = self.mktemp(), self.mktemp()
        for path, text in (
            (empty, b""),
            (broken, b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"),
        ):
            with open(path, "wb") as file:
                file.write(text)
        for path, why in (
            ("/nowhere", "/nowhere: cannot be read: No such file or directory"),
            (empty, f"{empty}: has no certificate in PEM"),
            (broken, f"{broken}: has a certificate that cannot be read: "),
        ):
            failed = self.assertRaises(Unable, tls.creator, TlsAsk("localhost", ca=path))
            self.assertTrue(str(failed).startswith(why), failed)

    def test_read_once(self) -> None:
        """The authorities are read once for all checks that want the same."""
        tls.creator(TlsAsk("localhost", ca=self.ca))
        with open(self.ca, "wb"):
            pass
        tls.creator(TlsAsk("example.com", ca=self.ca))

    async def test_as_clients_connections(self) -> None:
        """Where clients' connections have TLS the check has the same, unless it asks for something itself."""
        begun: list[Handshake] = []

        def begin() -> Handshake:
            begun.append(Handshake(make_context(ServerTlsSpec(ca=self.ca)), "localhost", "localhost"))
            return begun[-1]

        lane = Lane(reactor)
        self.addCleanup(lane.close)
        call = Call(reactor, SetTime(reactor.seconds), lane, self.listen(self.server()), tls=begin)
        self.assertEqual(await driven(tls.probe(call, TlsAsk())), "")
        self.assertEqual(await driven(tls.probe(call, TlsAsk(sni="www.example"))), "")
        self.assertEqual(await driven(tcp.probe(call, TcpAsk())), "")
        self.assertEqual(self.names, [b"localhost", b"www.example", b"localhost"])
        self.assertEqual(len(begun), 2)

    def test_expired(self) -> None:
        """What has expired is said to have."""

        class Transport:
            def getPeerCertificate(self) -> Any:
                return PrivateCertificate.loadPEM(pem).original

        pem = self.pem
        end = PrivateCertificate.loadPEM(pem).original.to_cryptography().not_valid_after_utc.timestamp()
        for now, remark in (
            (end - 8 * tls.DAY, ""),
            (end - 6.5 * tls.DAY, "its certificate expires in 6 days"),
            (end, "its certificate has expired"),
        ):
            self.assertEqual(tls.expiring(7 * tls.DAY, Transport(), now), remark)
        self.assertEqual(tls.expiring(None, Transport(), end), "")
