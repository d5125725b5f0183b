"""
Which seams have two implementations?

Rooms that must not know each other meet here: the relay tells its observers how each connection ended,
and `service` hands out snapshots of what is going on.
"""

from __future__ import annotations

from typing import Any, Collection, Sequence

from zope.interface import Attribute, Interface

from proxyd.records import Record, RequestRecord


class IObserver(Interface):
    """
    One who is told how connections end, and requests.

    It must be quick, must not raise, and must not block.
    """

    def closed(record: Record) -> None:
        """A connection has ended; this is called exactly once for each that was accepted."""

    def answered(record: RequestRecord) -> None:
        """A request of HTTP is over, whatever came of it; the connection that it came on may go on."""


class IBalancer(Interface):
    """A way to choose among servers that are all fit to be chosen."""

    def choose(servers: list[Any], avoid: Collection[Any] = (), arrival: Any = None) -> Any:
        """
        Return one of the servers that is not to be avoided, or None if there is no such one.

        ``servers`` are `proxyd.policy.server.Server` of weight 1 or more, at least one.  The caller never
        changes a list it has passed: the same list has the same members and weights.  ``avoid`` are a few
        that have just failed.  ``arrival`` is the client as a `proxyd.policy.arrival.Arrival`, or None
        where nobody asks for it.  Whoever is told a server opens a connection to it, before the next choice.
        """


class IKeyed(IBalancer):
    """A balancer that goes by the client: like clients get the same server."""

    def lay_out(servers: Sequence[Any]) -> None:
        """All servers that there are, fit or not, with their weights; told at first and at each change."""


class ICounting(IBalancer):
    """A balancer that goes by what servers have to do: it is told when they have more, or less."""

    def take(server: Any) -> bool:
        """
        Whether a client that has a server already may have one more connection there.

        If so, it gets it: it counts as if the server had been chosen.
        """

    def released(server: Any, moved: int) -> None:
        """A connection to the server has ended, and counts no more; so many bytes were moved on it."""


class ITiming(IBalancer):
    """A balancer that goes by how long servers take."""

    def timed(server: Any, seconds: float) -> None:
        """A server took so long; one that could not be reached, as long as would have been waited."""


class ITLSClient(Interface):
    """
    The client's part in one TLS connection: what is asked of the server, and whether it is believed.

    Each connection gets one of its own.
    """

    preface = Attribute("Bytes that go to a server that is dialed before TLS, such as a PROXY header.")

    def connection(skt: Any) -> Any:
        """
        Make the `OpenSSL.SSL.Connection`, in its connect state and with its name, session and so on set.

        It is to be on the socket, or, if that is None, on memory.
        """

    def established(ssl: Any) -> None:
        """Judge the server whose handshake stands; what raises `DialFailed` ends the connection at once."""

    def failed(detail: str) -> None:
        """The handshake of a dial has failed, or `established` has refused the server."""

    def ended(ssl: Any) -> None:
        """A connection whose handshake stood is lost; its last session can be had now."""


class IAsker(Interface):
    """Who is told what has come of an attempt to reach a server (`IDatapath.reach`): one thing, once."""

    def reached(address: Any) -> None:
        """The side is connected; the address is the one that was reached, if there were more."""

    def unreached(error: Any) -> None:
        """It is not: a `DialFailed`, or whatever else has come between, or a Failure of these."""


class IDatapath(Interface):
    """
    What moves the bytes: it makes transports of accepted sockets, reaches servers, and watches listeners.

    A transport of its making has the verbs of `twisted.internet.interfaces.ITCPTransport`,
    ``IConsumer`` and ``IPushProducer``, and says what is unsent (`proxyd.relay.streams.unsent`).
    """

    def accept(skt: Any, peer: Any, factory: Any, tls: Any = None) -> None:
        """
        Run a protocol of the factory on a socket that was accepted from ``peer``, as accept(2) gave it.

        The socket is non-blocking; it is the datapath's from now on, and closed when the factory does
        not want it.  What the factory or the protocol raises is raised here.

        With an `OpenSSL.SSL.Context` as ``tls``, TLS ends here: the protocol is connected at once, and told
        when the handshake stands if it is an `IHandshakeListener`.  One that fails is a lost connection, and
        the details begin with ``TLS:``.  `proxyd.relay.streams.ssl_connection` has what can be asked.
        """

    def start_tls(side: Any, tls: Any, early: bool = False) -> None:
        """
        Speak TLS from now on, on a plain connection of this datapath's making that the side has.

        ``tls`` is an `OpenSSL.SSL.Context` if the peer is the TLS client, else an `ITLSClient`.  The side has
        another ``transport`` when this returns, and the handshake is told of as by `accept`.  What was
        written before goes before it.  Nothing that was read before may be left: whoever can write into the
        plain part could slip in what looks as if it had come under TLS (CVE-2011-0411).  So bytes that the
        side holds are `Refused`; who expects TLS behind something reads no further than that, by the
        transport's ``bufferSize``.  With ``early`` they are the beginning of TLS, and nothing but that.
        """

    def dial(address: Any, side: Any, tcp: Any = None, client: str = "", tls: Any = None) -> Any:
        """
        Connect a side, such as a `proxyd.relay.pair.ProxyClient`, to a `proxyd.config.address.Address`.

        It may be any ``IProtocol``.  ``tcp`` is a `proxyd.config.tcp.TcpSpec` if something is asked of TCP,
        and ``client`` the IP address of whoever the connection is for, which it may want.

        The Deferred fires when the side is connected, with the address that was reached if there were more,
        else with None; or fails with `DialFailed`, some of it before this returns.  It has no deadline; who
        cancels it wants the attempt to end at once.

        With an `ITLSClient` as ``tls`` the side is connected when the TLS handshake stands; if that fails,
        the dial has, with the reason ``connect_tls``.
        """

    def reach(address: Any, side: Any, asker: Any, tcp: Any = None) -> Any:
        """
        Connect a side as `dial` does when nothing further is asked of it, and tell an `IAsker` of the end.

        Returns what has a ``cancel``, by which the attempt ends at once with a ``CancelledError``; or None if
        its end was told before this returns.  It is `dial` without a Deferred, which costs a connection more
        than the rest of our part in its dial.
        """

    def addReader(reader: Any) -> None:
        """Call ``doRead`` of an `IReadDescriptor` whenever it is readable; twice is as good as once."""

    def removeReader(reader: Any) -> None:
        """Watch it no more; one that is not watched is no error."""

    def close() -> None:
        """Give up what the datapath itself holds; nothing of its making may be in use any more."""
