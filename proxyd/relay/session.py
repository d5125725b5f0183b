"""
What is the whole life of one connection, in the order it happens?

`Session.serve` is that life, read top to bottom, up to the point where the two streams are joined.  From
there on no coroutine is kept (it would cost 2 KB a connection): the session goes on as the slim `Pair`
that it is, and writes its record when both sides are gone.
"""

from __future__ import annotations

from typing import Any, Callable, Coroutine, Optional, Sequence

from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyd.config.listener import ListenerSpec
from proxyd.errors import DialFailed, Reason
from proxyd.interfaces import IDatapath, IObserver, Record
from proxyd.policy.pool import Pool, Server
from proxyd.relay.capacity import Capacity
from proxyd.relay.deadlines import Wheel
from proxyd.relay.pair import Pair, ProxyServer, Side

log = Logger(__name__)


class Session(Pair):
    """One client's connection, from accept to record."""

    __slots__ = (
        "_story",
        "_waiting",
        "address",
        "connect_seconds",
        "factory",
        "picked",
        "retries",
        "started",
    )

    def __init__(self, factory: ProxyFactory, address: IAddress) -> None:
        spec = factory.spec
        super().__init__(factory.wheel, spec.idle_timeout, spec.half_closed_timeout)
        self.factory = factory
        self.address = address
        self.picked: Optional[Server] = None
        self.connect_seconds: Optional[float] = None
        self.retries = 0
        self.started = factory.seconds()
        self._story: Optional[Coroutine[Any, Any, None]] = None
        self._waiting: Optional[Deferred[None]] = None

    def client_connected(self) -> None:
        self.factory.entered(self)
        self._story = self.serve()
        self._go_on(None)

    def _go_on(self, result: Any) -> None:
        """
        Tell the story up to its next wait; called with what it has waited for.

        `Deferred.fromCoroutine` does this too, with a context and a status for each coroutine, and takes
        a tenth of all that a short connection costs.
        """
        story = self._story
        assert story is not None
        self._waiting = None
        try:
            if isinstance(result, Failure):
                waiting = result.throwExceptionIntoGenerator(story)
            else:
                waiting = story.send(result)
        except StopIteration:
            self._story = None
        else:
            self._waiting = waiting
            waiting.addBoth(self._go_on)

    async def serve(self) -> None:
        """Choose a server, reach it, and join the two streams; or end with the reason why not."""
        try:
            await self._reach_a_server()
            self.join()
        except DialFailed as failed:
            self.cut(failed.reason, failed.detail)
        except CancelledError:
            pass  # the client left, or we were told to cut: whoever cancelled has given the reason
        except Exception:  # noqa: BLE001 - the session's last line
            log.failure("A session failed.")
            self.cut(Reason.INTERNAL)

    async def _reach_a_server(self) -> None:
        """Dial the pool's servers one after another, each at most once, until one answers."""
        pool = self.factory.pool
        timeout = pool.spec.connect_timeout
        tried: list[Server] = []
        failed: Optional[DialFailed] = None
        while len(tried) <= pool.spec.retries:
            server = pool.pick(tried)
            if server is None:
                break
            self.picked = server
            self.retries = len(tried)
            server.open += 1
            began = self.factory.seconds()
            self.wheel.arm(self, timeout)
            try:
                await self.factory.datapath.dial(server.address, self.server)
                self.connect_seconds = self.factory.seconds() - began
                return
            except DialFailed as this:
                failed = this
            except CancelledError:
                if self.reason is not None:
                    raise
                failed = DialFailed(Reason.CONNECT_TIMEOUT, f"no answer within {timeout:g} s")
            finally:
                # While it is connected, the slot is the server's until it has closed its side.
                if not self.server.connected:
                    server.open -= 1
            if failed.reason is Reason.DESCRIPTORS:
                self.factory.capacity.exhausted()
                break  # no fault of the server's, and no other could be reached either
            tried.append(server)
        raise failed or DialFailed(Reason.NO_SERVER, f"no server of pool {pool.name} is up")

    def overdue(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        else:
            super().overdue()

    def side_finished(self, side: Side) -> None:
        super().side_finished(side)
        if side.peer is None and self.factory.spec.abort_on_close:
            self.cut(Reason.CLIENT_GONE, "it closed its side before a server was reached")

    def side_lost(self, side: Side, orderly: bool, detail: str = "") -> None:
        if side is self.server and self.picked is not None:
            self.picked.open -= 1
        if side.peer is None and self.reason is None:
            self.reason = Reason.CLIENT_GONE
            self.detail = detail
        self._give_up_dialing()
        super().side_lost(side, orderly, detail)

    def cut(self, reason: Reason, detail: str = "") -> None:
        super().cut(reason, detail)
        self._give_up_dialing()

    def _give_up_dialing(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()

    def ended(self, reason: Reason, detail: str) -> None:
        factory, picked = self.factory, self.picked
        record = Record(
            started=self.started,
            listener=factory.spec.name,
            client=address_text(self.address),
            reason=reason,
            total_seconds=factory.seconds() - self.started,
            pool=factory.pool.name,
            server=picked.name if picked is not None else "",
            server_address=str(picked.address) if picked is not None else "",
            connect_seconds=self.connect_seconds,
            bytes_in=self.client.received,
            bytes_out=self.server.received,
            retries=self.retries,
            detail=detail,
        )
        factory.left(self, record)


class ProxyFactory(ServerFactory):
    """Makes a session of each connection that its listener accepts, and knows those that are open."""

    noisy = False

    def __init__(
        self,
        spec: ListenerSpec,
        pool: Pool,
        datapath: IDatapath,
        wheel: Wheel,
        seconds: Callable[[], float],
        capacity: Capacity,
        observers: Sequence[IObserver],
    ) -> None:
        self.spec = spec
        self.pool = pool
        self.datapath = datapath
        self.wheel = wheel
        self.seconds = seconds
        self.capacity = capacity
        self.observers = tuple(observers)
        self.sessions: set[Session] = set()

    def buildProtocol(self, addr: IAddress) -> ProxyServer:  # type: ignore[override]
        return Session(self, addr).client

    def entered(self, session: Session) -> None:
        """A session begins."""
        self.sessions.add(session)
        self.capacity.enter()

    def left(self, session: Session, record: Record) -> None:
        """A session has ended; the observers are told."""
        self.sessions.discard(session)
        self.tell(record)
        self.capacity.leave()

    def tell(self, record: Record) -> None:
        """Give a record to the observers."""
        for observer in self.observers:
            try:
                observer.closed(record)
            except Exception:  # noqa: BLE001 - one observer must not keep the others from it
                log.failure("An observer failed.")

    def shed(self, address: IAddress) -> None:
        """A client was turned away because the process has no descriptor left."""
        self.tell(
            Record(
                started=self.seconds(),
                listener=self.spec.name,
                client=address_text(address),
                reason=Reason.DESCRIPTORS,
                total_seconds=0.0,
            )
        )


def address_text(address: Any) -> str:
    """An address as operators write it: 10.0.0.1:5432, [::1]:5432, or unix:PATH."""
    if isinstance(address, UNIXAddress):
        return f"unix:{(address.name or b'').decode(errors='replace')}"
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    return f"{address.host}:{address.port}"
