"""
What does the name service say?

The hosts file first, then DNS, in the records of Twisted Names (`twisted.names.dns`) but on sockets of our
own.  Twisted's own client writes two lines to the log for each question, may ask others in TCP than the one
whose answer did not fit, and believes anyone who guesses a number (before Twisted 26.10).  A socket that is
connected hears that one server only, and hears at once that nobody listens there.
"""

from __future__ import annotations

import errno
import os
import socket
from secrets import randbelow
from typing import Any, Coroutine, Iterable, Optional, TypeVar, cast

from attrs import frozen
from twisted.internet import error
from twisted.internet.defer import Deferred, FirstError, TimeoutError, gatherResults
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import Factory, connectionDone
from twisted.names import dns
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyd.config.address import TcpAddress, is_host_name
from proxyd.config.resolvers import (
    ResolversSpec,
    SystemResolvers,
    candidates,
    read_hosts,
    read_resolv_conf,
)
from proxyd.policy.names import MOST_TARGETS, Answer, Service, Services
from proxyd.relay.dial import client_endpoint

RESOLV_CONF = "/etc/resolv.conf"

MOST_OF_A_FILE = 1024 * 1024  # bytes that are read of a hosts file

MOST_ALIASES = 16  # from a name to its canonical one, as in BIND

LARGEST = 4096  # bytes of an answer in a datagram; 512 is what a server may send unasked (RFC 1035, 4.2.1)

_LOOPBACK = Answer(("127.0.0.1",), ("::1",))

_CODES = {
    dns.EFORMAT: "format error",
    dns.ESERVER: "server failure",
    dns.ENOTIMP: "not implemented",
    dns.EREFUSED: "refused",
}


T = TypeVar("T")


class Trouble(Exception):
    """Nothing was learnt; the text says in a few words why."""


@frozen
class _Records:
    """What a name has of a type, in the order of the answer, and the least TTL on the way there."""

    payloads: tuple[Any, ...] = ()
    ttl: float = 0.0


class Resolver:
    """Asks whom ``spec`` names.  Files are read anew each time, so a change of resolv.conf is heeded."""

    def __init__(self, reactor: Any, spec: ResolversSpec, resolv_conf: str = RESOLV_CONF) -> None:
        self._reactor = reactor
        self._spec = spec
        self._resolv_conf = resolv_conf

    async def host(self, name: str) -> Answer:
        """The addresses of a host.  What cannot be learnt is told in the answer; only cancelling raises."""
        listed = read_hosts(_read(self._spec.hosts), name) if self._spec.hosts else ()
        if listed:
            v4 = tuple(address for address in listed if ":" not in address)
            v6 = tuple(address for address in listed if ":" in address)
            return Answer(v4, v6)
        if name.lower().rstrip(".").rpartition(".")[2] == "localhost":
            return _LOOPBACK  # RFC 6761, 6.3: never to be asked for
        system = self._system()
        answer = Answer()
        for candidate in candidates(name, system):
            answer = await self._host(candidate, system)
            # What only a hiccup has hidden is not to be found under another name.
            if answer.any or answer.trouble:
                return answer
        return Answer((), (), trouble="there is no such name, or it has no address")

    async def services(self, name: str) -> Services:
        """The SRV records of a name.  What cannot be learnt is told in the answer; only cancelling raises."""
        try:
            found = await self._ask(name.rstrip("."), dns.SRV, self._system())
        except Trouble as trouble:
            return Services(trouble=str(trouble))
        each = []
        for record in found.payloads:
            host = _text(record.target).rstrip(".")
            # "." is RFC 2782's way to say that there is no such service.
            if is_host_name(host) and 0 < record.port < 65536:
                each.append(Service(host.lower(), record.port, record.priority, record.weight))
        if not each:
            return Services((), trouble="there is no such name, or it has no SRV record that can be used")
        each.sort(key=lambda service: (service.priority, service.host, service.port))
        return Services(tuple(each[:MOST_TARGETS]), found.ttl)

    def _system(self) -> SystemResolvers:
        if self._spec.addresses:
            return SystemResolvers(self._spec.addresses)
        return read_resolv_conf(_read(self._resolv_conf))

    async def _host(self, name: str, system: SystemResolvers) -> Answer:
        """The addresses of a full name, both families asked for at once."""
        outcomes = await all_of(_outcome(self._ask(name, kind, system)) for kind in (dns.A, dns.AAAA))
        families: list[Optional[tuple[str, ...]]] = []
        for outcome, family in zip(outcomes, (socket.AF_INET, socket.AF_INET6)):
            if isinstance(outcome, Trouble):
                families.append(None)
                continue
            found = (socket.inet_ntop(family, record.address) for record in outcome.payloads)
            families.append(tuple(dict.fromkeys(found)))
        trouble = " and ".join(dict.fromkeys(str(each) for each in outcomes if isinstance(each, Trouble)))
        if trouble and families != [None, None]:
            learnt = "IPv6" if families[0] is None else "IPv4"
            trouble = f"only of {learnt} addresses something was learnt; {trouble}"
        ttls = [each.ttl for each in outcomes if isinstance(each, _Records) and each.payloads]
        return Answer(families[0], families[1], min(ttls, default=0.0), trouble)

    async def _ask(self, name: str, kind: int, system: SystemResolvers) -> _Records:
        """The records of a type; raises `Trouble` when no server has an answer."""
        if not is_host_name(name):
            raise Trouble(f"{name} is too long for a name")
        trouble = ""
        for _ in range(self._spec.tries):
            for server in system.addresses:
                try:
                    message = await self._exchange(server, dns.Query(name.encode(), kind))
                except (TimeoutError, OSError, Trouble) as failed:
                    trouble = f"{server} {_say(failed)}"
                    continue
                if message.rCode in (dns.OK, dns.ENAME):
                    return _records(message, name, kind)
                trouble = f"{server} says {_CODES.get(message.rCode, f'code {message.rCode}')}"
        raise Trouble(trouble)

    async def _exchange(self, server: TcpAddress, question: dns.Query) -> dns.Message:
        """A server's answer; in TCP if it is too long for a datagram (RFC 1035, 4.2.2)."""
        asked = dns.Message(id=randbelow(0x10000), recDes=1)
        asked.queries = [question]
        timeout = self._spec.timeout
        answer: dns.Message = await _Datagram(self._reactor, server, asked).answer.addTimeout(
            timeout, self._reactor
        )
        if not answer.trunc:
            return answer
        stream = _Stream(asked)
        connecting = client_endpoint(self._reactor, server, None).connect(Factory.forProtocol(lambda: stream))
        try:
            await connecting.addTimeout(timeout, self._reactor)
            return await stream.answer.addTimeout(timeout, self._reactor)
        except error.ConnectError as failed:
            raise Trouble(f"cannot be reached in TCP ({failed})") from None
        finally:
            if stream.transport is not None:
                stream.transport.abortConnection()


async def all_of(asking: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What comes of several look-ups that go on at a time; to cancel it cancels them all."""
    try:
        return await gatherResults([Deferred.fromCoroutine(one) for one in asking], consumeErrors=True)
    except FirstError as failed:  # which Twisted makes of a cancellation, too
        failed.subFailure.raiseException()


async def _outcome(asking: Coroutine[Any, Any, _Records]) -> Any:
    """What came of it, trouble too."""
    try:
        return await asking
    except Trouble as trouble:
        return trouble


@implementer(IReadDescriptor)
class _Datagram:
    """One question in a datagram, and the first answer to it; to cancel ``answer`` closes the socket."""

    def __init__(self, reactor: Any, server: TcpAddress, asked: dns.Message) -> None:
        """Raises OSError."""
        self.answer: Deferred[dns.Message] = Deferred(lambda _: self._close())
        self._reactor = reactor
        self._asked = asked
        family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
        self._socket = skt = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            skt.connect((server.host, server.port))  # which gives it a port by chance, too
            skt.send(asked.toStr())
        except OSError:
            skt.close()
            raise
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "names"

    def doRead(self) -> None:
        try:
            data = self._socket.recv(LARGEST)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as failed:
            self._close()
            self.answer.errback(failed)
            return
        message = _answer(data, self._asked)
        if message is not None:
            self._close()
            self.answer.callback(message)

    def connectionLost(self, reason: Failure) -> None:
        """There is an error on the socket, which reactors keep from `doRead`; or it is closed by now."""
        if not self.answer.called:
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._close()
            self.answer.errback(OSError(code or errno.ECONNABORTED, ""))

    def _close(self) -> None:
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            self._socket.close()


class _Stream(Int16StringReceiver):
    """One question in TCP, and the answer to it."""

    transport: Any = None
    MAX_LENGTH = 0xFFFF

    def __init__(self, asked: dns.Message) -> None:
        self.answer: Deferred[dns.Message] = Deferred()
        self._asked = asked

    def connectionMade(self) -> None:
        self.sendString(self._asked.toStr())

    def stringReceived(self, string: bytes) -> None:
        message = _answer(string, self._asked)
        if not self.answer.called:
            if message is None:
                self.answer.errback(Trouble("sent something else than an answer"))
            else:
                self.answer.callback(message)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answer.called:
            self.answer.errback(Trouble("closed the connection"))


def _answer(data: bytes, asked: dns.Message) -> Optional[dns.Message]:
    """The answer to what was asked, or None if it is something else."""
    message = dns.Message()
    try:
        message.fromStr(data)
    except Exception:  # noqa: BLE001 - whatever the codec stumbles over, it is no answer
        return None
    [question] = asked.queries
    if message.id != asked.id or not message.answer or len(message.queries) > 1:
        return None
    # A refusal may come without the question.
    if message.queries and message.queries[0] != question:
        return None
    return message if message.queries or message.rCode not in (dns.OK, dns.ENAME) else None


def _records(message: dns.Message, name: str, kind: int) -> _Records:
    """What a name has of a type, by way of its aliases (RFC 1034, 3.6.2)."""
    wanted, ttls = name.lower(), []
    for _ in range(MOST_ALIASES):
        own = [record for record in message.answers if _text(record.name) == wanted and record.cls == dns.IN]
        found = [record for record in own if record.type == kind and record.payload is not None]
        if found:
            ttls += [record.ttl for record in found]
            return _Records(tuple(record.payload for record in found), float(min(ttls)))
        alias = next((record for record in own if record.type == dns.CNAME and record.payload), None)
        if alias is None:
            break
        ttls.append(alias.ttl)
        wanted = _text(cast(Any, alias.payload).name)
    return _Records()


def _text(name: dns.Name) -> str:
    return name.name.decode("ascii", "backslashreplace").lower()


def _say(failed: Exception) -> str:
    if isinstance(failed, TimeoutError):
        return "does not answer"
    code = getattr(failed, "errno", None)
    if code == errno.ECONNREFUSED:
        return "does not listen"
    text = os.strerror(code) if isinstance(code, int) else str(failed)
    return text[:1].lower() + text[1:]


def _read(path: str) -> str:
    """The text of a file of the system; empty if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(MOST_OF_A_FILE)
    except OSError:
        return ""
