"""
How do the sides of a connection agree on TLS, in the way of their protocol?

What is said, and when TLS begins, is decided by `proxyd.wire.starttls`.  Here it is done: bytes are taken of
what a side holds, what is to be said is written, and the next of it is waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence

from twisted.internet.defer import CancelledError, Deferred

from proxyd.config.listener import ListenerSpec
from proxyd.config.pool import PoolSpec
from proxyd.errors import DialFailed, Reason, Refused
from proxyd.interfaces import IDatapath, ITLSClient
from proxyd.relay.pair import ProxyClient, Side
from proxyd.relay.streams import can_half_close, ssl_connection
from proxyd.relay.tls.stock import hand_over
from proxyd.wire.starttls.ftp import FtpOffer, ftp_request
from proxyd.wire.starttls.imap import ImapOffer, ImapRequest
from proxyd.wire.starttls.mysql import MysqlOffer
from proxyd.wire.starttls.pgsql import ALPN, PgsqlOffer, PgsqlRequest
from proxyd.wire.starttls.smtp import SmtpOffer, smtp_request
from proxyd.wire.starttls.step import CLIENT, SERVER, Agreement, Step

if TYPE_CHECKING:
    from proxyd.relay.session import Session

MYSQL, PGSQL = "mysql", "pgsql"

_OFFERS: dict[str, Callable[[str], Agreement]] = {"smtp": SmtpOffer, "imap": ImapOffer, "ftp": FtpOffer}
_REQUESTS: dict[str, Callable[[], Agreement]] = {
    PGSQL: PgsqlRequest,
    "smtp": smtp_request,
    "imap": ImapRequest,
    "ftp": ftp_request,
}


def agrees(spec: ListenerSpec, pools: Sequence[PoolSpec]) -> bool:
    """Whether clients of a listener, or their servers, begin TLS in the way of their protocol."""
    servers = [server.tls for pool in pools for server in pool.servers]
    return bool(spec.offers_tls) or any(tls is not None and tls.starttls for tls in servers)


def request(protocol: str) -> Agreement:
    """We, who ask a server for TLS in the way of a protocol; not of MySQL, in which a client does."""
    return _REQUESTS[protocol]()


async def before(session: Session) -> None:
    """Agree with a client of a protocol in which that needs no server."""
    spec = session.factory.spec
    if spec.speaks != PGSQL:
        return
    offer = PgsqlOffer(spec.offers_tls)
    await _agree(session, offer)
    ssl = ssl_connection(session.client.transport)
    if offer.direct and (ssl is None or ssl.get_alpn_proto_negotiated() != ALPN):
        # Or somebody could lead a client of another protocol here, whose bytes pass for a startup packet.
        raise Refused(
            Reason.TLS_HANDSHAKE, "TLS: it began with the first byte, and without ALPN for postgresql"
        )


async def behind(session: Session) -> bool:
    """
    Agree with a client whose server speaks first, and was reached.

    Returns whether there is anything to be joined then; if not, both have taken their leave.
    """
    spec, picked = session.factory.spec, session.picked
    asked = picked is not None and picked.tls is not None and bool(picked.tls.starttls)
    if spec.speaks == PGSQL or not (asked or spec.offers_tls):
        return True
    if spec.speaks == MYSQL:
        step = await _log_in(session, asked)
    else:
        step = await _agree(session, _OFFERS[spec.speaks](spec.offers_tls))
    session.note_tls()
    if step.over:
        session.reason = Reason.CLIENT_FINISHED
        session.server.transport.loseConnection()
        session.part(b"")
    return not step.over


async def _log_in(session: Session, asked: bool) -> Step:
    """Agree by a login of MySQL, in which TLS with the server may fail as late as that."""
    try:
        return await _agree(session, MysqlOffer(session.factory.spec.offers_tls, asked))
    except DialFailed as failed:
        told = session.told(failed)
        pool, server = session.pool, session.picked
        if told.reason is Reason.CONNECT_TLS and pool is not None and server is not None:
            session.blame(pool, server, told, session.started)
        raise told from None


async def _agree(session: Session, agreement: Agreement) -> Step:
    """Have the sides of a session agree."""
    factory, spec = session.factory, session.factory.spec

    def start_tls(side: Side, early: bool) -> None:
        datapath: Any = factory.datapath
        tls = factory.front if side is session.client else session.server_tls
        datapath.start_tls(side, tls, early)

    # Whoever is heard before there is a server counts already.
    tally = factory.tally if not isinstance(agreement, PgsqlOffer) else None
    counted = False

    def count(owes: bool) -> None:
        """Count the client among those in the midst of their openings as long as it owes TLS."""
        nonlocal counted
        if tally is not None and owes != counted:
            tally.limits.handshakes += 1 if owes else -1
            counted = owes

    def rest(awaited: str) -> None:
        count(awaited == CLIENT)
        seconds = spec.half_closed_timeout if session.client.finished else spec.idle_timeout
        if awaited == CLIENT:
            seconds = spec.handshake_timeout
        elif talk.shaking and session.pool is not None:
            seconds = session.pool.spec.connect_timeout
        session.wheel.arm(session, seconds)

    server = session.server if session.server.connected else None
    talk: Talk = Talk(agreement, session.client, server, start_tls, rest)
    session.early = talk
    try:
        step = await talk.agree()
    except CancelledError:
        if session.server.connected:
            session.server.transport.abortConnection()
        raise
    finally:
        count(False)
        session.early = None
        session.mute = talk.shaking == CLIENT
        session.packet = agreement.number if isinstance(agreement, MysqlOffer) else 0
    return step


class Talk:
    """
    The sides of a connection while they agree; either may be missing.

    ``start_tls`` has a side begin TLS, and is told whether what it holds is the beginning; ``rest`` is called
    before each wait, with who is awaited (`CLIENT`, `SERVER` or nobody), and sets the deadline.  Whoever owns
    the sides tells what happens to them; of a server's side alone this may be the pair.
    """

    parting = False

    def __init__(
        self,
        agreement: Agreement,
        client: Optional[Side],
        server: Optional[Side],
        start_tls: Callable[[Side, bool], None],
        rest: Callable[[str], None],
    ) -> None:
        self.agreement = agreement
        self.client = client
        self.server = server
        self._start_tls = start_tls
        self._rest = rest
        self._waiting: Optional[Deferred[None]] = None
        self.shaking = ""  # hands, with the side that has begun TLS
        self._secured = False  # TLS with the client stands
        self._expired = False
        self._loss = ""  # how the server's side was lost
        self._told_end = False  # the server, of the client's

    # What the owner of the sides tells

    def heard(self) -> None:
        """Something of the sides is different."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def expire(self) -> None:
        """The deadline has passed."""
        self._expired = True
        self.heard()

    def shook_hands(self) -> None:
        """TLS that has begun stands."""
        self._secured = self._secured or self.shaking == CLIENT
        self.shaking = ""
        self.heard()

    def side_spoke(self, side: Side) -> None:
        """The server has said something."""
        self.heard()

    def side_finished(self, side: Side) -> None:
        """The server has finished."""
        self.heard()

    def side_lost(self, side: Side, orderly: bool, detail: str = "") -> None:
        """The server's side is lost."""
        self._loss = detail
        self.heard()

    def server_shook_hands(self) -> None:
        """TLS with the server stands."""
        self.shook_hands()

    # What comes of it

    async def agree(self) -> Step:
        """Do all that is to be done, and return the last step.  Raises `Refused` and `DialFailed`."""
        while True:
            step = self.agreement.step(_held(self.client), _held(self.server))
            if step is None:
                await self._more()
                continue
            await self._do(step)
            if step.joined or step.over:
                return step

    async def _do(self, step: Step) -> None:
        for side, taken, said in (
            (self.client, step.from_client, step.to_client),
            (self.server, step.from_server, step.to_server),
        ):
            if side is not None and taken:
                side.held = side.held[taken:]
                if not side.finished:
                    side.transport.resumeProducing()
            if side is not None and said and side.connected:
                side.transport.write(said)
        if step.tls:
            side = self.client if step.tls == CLIENT else self.server
            assert side is not None
            self.shaking = step.tls
            self._rest(step.tls)
            self._start_tls(side, step.early)
            while self.shaking:
                await self._change()

    async def _more(self) -> None:
        """Wait until a side has said more."""
        client, server = self.client, self.server
        before = _held(client), _held(server)
        self._rest(self.agreement.awaited)
        while (_held(client), _held(server)) == before:
            if client is not None and client.finished and not client.held:
                self._tell_end()
            await self._change()

    async def _change(self) -> None:
        """Wait until anything is different, unless it is such that nothing will come of it."""
        client, server = self.client, self.server
        left = client is not None and client.finished
        if self._expired:
            raise self._too_late()
        if server is not None and (server.finished or not server.connected):
            if self.shaking == SERVER:
                raise DialFailed(Reason.CONNECT_TLS, self._loss or "TLS: it closed the connection")
            if not left:
                how = self._loss or "closed the connection before TLS was agreed on"
                raise DialFailed(Reason.STARTTLS_REFUSED, how)
        if left and (server is None or server.finished or not server.connected):
            raise Refused(Reason.CLIENT_GONE, "it closed its side before TLS was agreed on")
        self._waiting = Deferred()
        await self._waiting

    def _too_late(self) -> Exception:
        if self.shaking == SERVER:
            return DialFailed(Reason.CONNECT_TLS, "TLS: it did not finish the handshake in time")
        if self.shaking:
            return Refused(Reason.OPENING_TIMEOUT, "it did not finish the TLS handshake")
        if self.agreement.awaited == SERVER:
            return DialFailed(Reason.STARTTLS_REFUSED, "did not answer in time, before TLS was agreed on")
        if self.agreement.awaited == CLIENT:
            left = "go on after TLS had begun" if self._secured else "begin TLS"
            return Refused(Reason.OPENING_TIMEOUT, f"it did not {left}")
        return Refused(Reason.IDLE_TIMEOUT, "nothing was said before TLS was agreed on, or nothing of use")

    def _tell_end(self) -> None:
        """Pass the client's end on to the server, which then comes to its own."""
        server = self.server
        if server is None or self._told_end or not server.connected:
            return
        self._told_end = True
        if can_half_close(server.transport):
            server.transport.loseWriteConnection()
        else:
            server.transport.loseConnection()


async def reach(
    session: Session, protocol: str, dial: Callable[[ProxyClient], Deferred[Any]], tls: ITLSClient
) -> Any:
    """
    Reach a server that is asked for TLS in the way of a protocol; returns and raises what ``dial`` does.

    What is told it before anything else is the ``preface`` of ``tls``.
    """
    if protocol != MYSQL:
        return await ask(protocol, dial, session.factory.datapath, tls, session.server)
    reached = await dial(session.server)
    session.server.transport.write(tls.preface)
    return reached


async def ask(
    protocol: str,
    dial: Callable[[ProxyClient], Deferred[Any]],
    datapath: IDatapath,
    tls: ITLSClient,
    side: ProxyClient,
) -> Any:
    """
    Reach a server, ask it for TLS, and connect the side to it when TLS stands.

    ``dial`` begins to connect one that stands in for the side until then.  Returns what that does, and raises
    `DialFailed`; who cancels it wants the attempt to end at once.
    """
    lane: Any = datapath

    def start_tls(side: Side, early: bool) -> None:
        lane.start_tls(side, tls)

    talk = Talk(request(protocol), None, None, start_tls, lambda awaited: None)
    asking = talk.server = ProxyClient(talk)
    reached = await dial(asking)
    try:
        asking.transport.write(tls.preface)
        step = await talk.agree()
    except BaseException as failed:
        if isinstance(failed, DialFailed) and failed.reason is Reason.CONNECT_TLS:
            tls.failed(failed.detail)
        if asking.connected:
            asking.transport.abortConnection()
        raise
    side.finished, side.received = asking.finished, asking.received
    side.held = step.heard + asking.held
    hand_over(asking.transport, side)
    return reached


def _held(side: Optional[Side]) -> bytes:
    return side.held if side is not None else b""
