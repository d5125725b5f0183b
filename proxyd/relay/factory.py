"""Who makes the sessions of a listener, knows those that are open, and turns the others away?"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Optional, Sequence

from OpenSSL.SSL import Context
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger

from proxyd.config.affinity import RDP_COOKIE
from proxyd.config.listener import ListenerSpec
from proxyd.errors import Reason
from proxyd.interfaces import IDatapath, IObserver
from proxyd.policy.admission import Admission
from proxyd.policy.pool import Pool
from proxyd.policy.route import Routes
from proxyd.records import Record
from proxyd.relay.admission import Gate, Unwelcome, client_of
from proxyd.relay.bandwidth import Pacing
from proxyd.relay.capacity import Capacity
from proxyd.relay.deadlines import Wheel
from proxyd.relay.refusal import Exit
from proxyd.relay.session import Session
from proxyd.relay.starttls import agrees
from proxyd.relay.streams import address_of, address_text
from proxyd.relay.tally import Complaints, Tally
from proxyd.relay.tls.server import ServerTls
from proxyd.walltime import WallTime

log = Logger(__name__)


class ProxyFactory(ServerFactory):
    """Makes a session of each connection that its listener accepts, and knows those that are open."""

    noisy = False

    def __init__(
        self,
        spec: ListenerSpec,
        pools: Mapping[str, Pool],
        datapath: IDatapath,
        wheel: Wheel,
        seconds: Callable[[], float],
        wall: WallTime,
        capacity: Capacity,
        observers: Sequence[IObserver],
        admission: Admission,
        tally: Optional[Tally] = None,
        server_tls: Optional[ServerTls] = None,
    ) -> None:
        """
        ``pools`` has at least those that the listener and its routes name.

        ``server_tls`` is what TLS begins with towards servers that are to have it.
        """
        self.spec = spec
        self.pools = pools
        self.pool = pools[spec.pool] if spec.pool else None
        affinities = [pools[name].affinity for name in spec.pools]
        self.reads_rdp = any(one is not None and one.spec.key == RDP_COOKIE for one in affinities)
        self.learns = any(one is not None and one.learns for one in affinities)
        self.reads_opening = spec.reads_opening or self.reads_rdp
        self._leaves_to_twisted = spec.leaves_to_twisted
        self.may_end_tls = spec.ends_tls or self._leaves_to_twisted
        self.front: Optional[Context] = None  # that TLS begins with where something is said before
        self.agrees = agrees(spec, [pools[name].spec for name in spec.pools])
        self.routes = Routes(spec.connection_routes)
        self.notes_tcp = spec.tcp_info
        self.times_first_byte = any(pools[name].spec.times_first_byte for name in spec.pools)
        self.datapath = datapath
        self.wheel = wheel
        self.seconds = seconds
        self.wall = wall
        self.capacity = capacity
        self.observers = tuple(observers)
        self.tally = tally
        self.server_tls = server_tls
        self.pacing = Pacing(spec, wheel.clock) if spec.bandwidth or spec.bandwidth_per_client else None
        self.gate = Gate(admission, spec.proxy_protocol, seconds, wall, tally)
        self.complaints = Complaints(spec.name, seconds)
        self.exit = Exit(spec.refuse, wheel)
        self.sessions: set[Session] = set()
        self.streams: set[Session] = set()  # those that are of a stream within one of these connections

    def buildProtocol(self, addr: IAddress) -> Any:  # type: ignore[override]
        # Endpoints of Twisted's accept by themselves; for all others `sends_away` was asked.
        if self._leaves_to_twisted and not self.gate.open:
            refusal = self.gate.turns_away(addr)
            if refusal is not None:
                self.turned_away(addr, refusal.reason, refusal.detail)
                return Unwelcome()
        return self.session(addr).client

    def session(self, address: IAddress) -> Session:
        """A session for one who was accepted from there."""
        return Session(self, address)

    def stopFactory(self) -> None:
        self.exit.close()

    def sends_away(self, skt: Any, peer: Any) -> bool:
        """Whether one who was just accepted may not come in; then its socket is taken care of."""
        if self.gate.open:
            return False
        address = address_of(peer)
        refusal = self.gate.turns_away(address)
        if refusal is None:
            return False
        self.exit.send_away(skt)
        self.turned_away(address, refusal.reason, refusal.detail)
        return True

    def entered(self, session: Session) -> None:
        """A session begins."""
        tally = self.tally
        if tally is not None:
            session.counted = tally.begin()
            if not self.gate.speaks_for_others(session.address):
                tally.known(session.counted, client_of(session.address))
        self.sessions.add(session)
        self.capacity.enter()

    def left(self, session: Session, record: Record) -> None:
        """A session has ended; the observers are told."""
        if self.tally is not None and session.counted is not None:
            self.tally.end(session.counted, record)
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
        self.turned_away(address, Reason.DESCRIPTORS)

    def turned_away(self, address: IAddress, reason: Reason, detail: str = "") -> None:
        """A client was closed without a session; the observers are told."""
        self.complaints.about(reason, detail)
        self.tell(
            Record(
                started=self.wall.now(),
                listener=self.spec.name,
                client=address_text(address),
                reason=reason,
                total_seconds=0.0,
                detail=detail,
            )
        )
