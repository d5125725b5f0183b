"""
Which server did this client have before?

A pool with affinity keeps a table: by what a client is known, the server that it had, and until when that
counts.  Whoever comes back in time gets the same server, as long as that may be chosen at all.  If it may
not, the client gets another, silently, and has that one from then on; only ``affinity_failback`` leads it
back.  A server that is full is passed over for this one connection, and nothing moves.

It is HAProxy's stick table, with two differences: a client is remembered when its server is chosen, and not
when that has answered, so connections that come at once stay together; and a server with weight 0 gets
nobody.

What is remembered by the id of a TLS session is learned from the server, which gives the id out
(`proxyd.wire.serverhello`); it stays with the server that has the session, and does not move.  A cookie of
the server's is learned, too (nginx's ``sticky learn``), and moves; of one that we give nothing is
remembered, since all that is known is in it (`proxyd.policy.cookie`).

One request of a browser is not a connection that ends, but a part of a session.  So a server that is drained
keeps whom cookies lead to it, as with HAProxy and nginx: they leave when their sessions end.
"""

from __future__ import annotations

from hashlib import blake2b
from itertools import islice
from typing import Any, Callable, Optional, Sequence

from attrs import evolve, frozen

from proxyd.config.affinity import (
    COOKIE,
    LEARNED_COOKIE,
    RDP_COOKIE,
    SNI,
    SOURCE,
    TLS_SESSION,
    VIA,
    AffinitySpec,
)
from proxyd.config.words import Invalid, quoted
from proxyd.policy.arrival import Arrival, name_of, network_of, network_text
from proxyd.policy.bans import read_network
from proxyd.policy.cookie import NONCE, Sealed
from proxyd.policy.server import Server
from proxyd.policy.state import State
from proxyd.policy.table import MOST_USES, Row, Table
from proxyd.snapshots import AffinitySnapshot

_DIGEST = 16  # bytes: what a learned cookie is remembered by, since who has the cookie has the session


@frozen
class Entry:
    """
    One entry for people: the client, its server, the one that it had first, the seconds that it still has,
    and its connections.
    """

    key: str
    server: str
    first: str
    left: float
    uses: int


class Affinity:
    """
    What a pool remembers of its clients.

    ``now`` is always the time in seconds.  `Pool.pick` asks `servers` whom a client had, and says by `kept`
    or `chosen` whom it has got.  ``cookie`` is the name of that by which clients are known, b"" for none;
    ``remembers`` says whether the table is of any use.
    """

    remembers = True

    def __init__(self, spec: AffinitySpec, failback: bool) -> None:
        self.spec = spec
        self.failback = failback
        self.learns = spec.key in (TLS_SESSION, LEARNED_COOKIE)  # who tells whose a key is is the server
        self.cookie = spec.cookie.name.encode("ascii") if spec.cookie is not None else b""
        self._stays = spec.key == TLS_SESSION
        self._by_token = spec.key == RDP_COOKIE
        self.table = Table(spec.size, spec.ttl)
        self.key = key_of(spec)
        self.hits = 0
        self.misses = 0
        self.moved = 0
        self.spilled = 0

    def names(self, server: Server) -> Sequence[str]:
        """What a server is called in the answers of `servers`."""
        return (server.name, str(server.address)) if self._by_token else (server.name,)

    def may_stay(self, server: Server) -> bool:
        """Whether a server that gets nobody else keeps those who had it."""
        drained = server.state is State.DRAINING or (server.state is State.UP and not server.share)
        return bool(self.cookie) and drained and not server.leaving and server.health is not State.DOWN

    def servers(self, key: bytes, arrival: Arrival, now: float) -> Sequence[str]:
        """
        The names of the servers that the client may come back to, the best first.

        An RDP client that brings the token of a session names the server by its address.
        """
        names: tuple[str, ...] = ()
        found = self.table.find(key, now)
        if found is not None:
            server, home = found
            names = (home, server) if self.failback and home != server else (server,)
        return (arrival.rdp_server, *names) if self._by_token and arrival.rdp_server else names

    def kept(self, key: bytes, server: str, now: float) -> None:
        """The client has got one of these servers."""
        self.hits += 1
        self.table.use(key, server, now)

    def chosen(self, key: bytes, server: str, full: bool, again: bool, now: float) -> None:
        """
        The client has got this server from the balancer.

        ``full``: because the one it had was full, ``again``: because the one it was given cannot be reached.
        """
        # A key that nobody has given out may be anything, and is not worth a place in the table.
        moves = not self.learns or (not self._stays and self.table.find(key, now) is not None)
        if again:
            if moves and not full:
                self.moved += self.table.retry(key, server, now)
        elif full:
            self.spilled += 1
        elif moves and self.table.use(key, server, now):
            self.moved += 1
        else:
            self.misses += 1

    def learn(self, key: bytes, server: str, now: float) -> None:
        """This server has given out this key."""
        if key and self.table.use(key, server, now):
            self.moved += 1

    def supposed(self, arrival: Arrival, server: str) -> Optional[Arrival]:
        """A client that has had this server before; None if nothing is known of it by which that could be."""
        if self.spec.key == LEARNED_COOKIE:
            arrival = evolve(arrival, cookie=b"supposed")
        key = self.key(arrival)
        self.learn(key, server, 0.0)
        return arrival if key else None

    def entries(self, now: float, most: int) -> list[Entry]:
        """So many entries for people, those that were used last."""
        return [self._entry(row) for row in islice(self.table.rows(now), most)]

    def entry(self, key: bytes, now: float) -> Optional[Entry]:
        """The entry of that key for people, if there is one."""
        row = self.table.row(key, now)
        return self._entry(row) if row is not None else None

    def _entry(self, row: Row) -> Entry:
        key, server, first, left, uses = row
        return Entry(shown(self.spec, key), server, first, left, uses)

    def snapshot(self, pool: str) -> AffinitySnapshot:
        """What has passed, and how many entries there are."""
        return AffinitySnapshot(
            pool=pool,
            entries=len(self.table),
            hits=self.hits,
            misses=self.misses,
            moved=self.moved,
            spilled=self.spilled,
            evicted=self.table.evicted,
            expired=self.table.expired,
        )

    def dump(self, now: float, most: int) -> dict[str, Any]:
        """So many entries, those that were used last, of plain values, for `restore` in another process."""
        rows = [[key.decode("latin-1"), *rest] for key, *rest in islice(self.table.rows(now), most)]
        return {"key": self._what(), "rows": rows}

    def restore(self, dumped: Any, now: float) -> int:
        """
        Take back what `dump` gave, and return how many entries; what makes no sense is left out.

        If clients are remembered by something else by now, it is all left out.
        """
        if not isinstance(dumped, dict) or dumped.get("key") != self._what():
            return 0
        found = dumped.get("rows")
        rows: list[Row] = [
            (row[0].encode("latin-1"), *row[1:])
            for row in (found if isinstance(found, list) else ())
            if _is_row(row)
        ]
        self.table.restore(rows, now)
        return len(rows)

    def _what(self) -> str:
        spec = self.spec
        if spec.cookie is not None:
            return f"{spec.key}/{spec.cookie.name}"
        return f"{spec.key}/{spec.prefix4}/{spec.prefix6}" if spec.key in (SOURCE, VIA) else spec.key


class SealedAffinity(Affinity):
    """
    What cookies of ours say of clients.

    Until it was given a `secret`, nobody has one.  After `Pool.pick`, ``stays`` says whether the cookie that
    the client brought is to be left as it is, because it has got that server, or another for once.
    """

    remembers = False

    def __init__(self, spec: AffinitySpec, pool: str) -> None:
        super().__init__(spec, failback=False)
        self._pool = pool
        self._sealed: Optional[Sealed] = None
        self._known: dict[bytes, str] = {}  # values that were opened lately
        self.stays = False

    def secret(self, secret: bytes) -> None:
        """Make and read cookies with this from now on."""
        self._sealed = Sealed(secret, self._pool)
        self._known.clear()

    def names(self, server: Server) -> Sequence[str]:
        return (self._sealed.mark(server.name),) if self._sealed is not None else ()

    def servers(self, key: bytes, arrival: Arrival, now: float) -> Sequence[str]:
        mark = self._known.get(key)
        if mark is None:
            mark = self._sealed.open(key) if self._sealed is not None else ""
            if mark:
                if len(self._known) >= _KNOWN:
                    self._known.clear()
                self._known[key] = mark
        return (mark,) if mark else ()

    def kept(self, key: bytes, server: str, now: float) -> None:
        self.hits += 1
        self.stays = True

    def chosen(self, key: bytes, server: str, full: bool, again: bool, now: float) -> None:
        self.stays = full
        if full:
            self.spilled += not again
        elif self.servers(key, _NOBODY, now):
            self.moved += 1
        else:
            self.misses += not again

    def supposed(self, arrival: Arrival, server: str) -> Optional[Arrival]:
        self.secret(_SUPPOSED)
        assert self._sealed is not None
        return evolve(arrival, cookie=self._sealed.seal(server, bytes(NONCE)))

    def give(self, server: str, nonce: bytes, secure: bool) -> bytes:
        """
        What the field Set-Cookie says for a client that has this server; b"" as long as there is no secret.

        ``nonce`` are `proxyd.policy.cookie.NONCE` bytes of chance; ``secure`` is a client that came by TLS.
        """
        spec = self.spec.cookie
        if self._sealed is None or spec is None:
            return b""
        parts = [b"%s=%s; Path=%s" % (self.cookie, self._sealed.seal(server, nonce), spec.path.encode())]
        if spec.max_age:
            parts.append(b"Max-Age=%d" % spec.max_age)
        parts.append(b"HttpOnly")
        if secure or spec.secure:
            parts.append(b"Secure")
        parts.append(b"SameSite=" + spec.same_site.capitalize().encode())
        return b"; ".join(parts)


_KNOWN = 4096  # some 400 KB, of which none can be made without the secret

_NOBODY = Arrival()

_SUPPOSED = b"for explanations only"


def make_affinity(spec: AffinitySpec, failback: bool, pool: str) -> Affinity:
    """What a pool of this name remembers by."""
    return SealedAffinity(spec, pool) if spec.key == COOKIE else Affinity(spec, failback)


def _is_row(row: Any) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 5
        and all(isinstance(text, str) for text in row[:3])
        and all(ord(letter) < 256 for letter in row[0])
        and isinstance(row[3], (int, float))
        and row[3] > 0
        and isinstance(row[4], int)
        and 1 <= row[4] <= MOST_USES
    )


def key_of(spec: AffinitySpec) -> Callable[[Arrival], bytes]:
    """What makes of an arrival that by which it is remembered; b"" for one that has no such thing."""
    prefix4, prefix6 = spec.prefix4, spec.prefix6
    return {
        SOURCE: lambda arrival: network_of(arrival.source, prefix4, prefix6),
        VIA: lambda arrival: network_of(arrival.via, prefix4, prefix6),
        SNI: name_of,
        TLS_SESSION: lambda arrival: arrival.tls_session,
        RDP_COOKIE: lambda arrival: arrival.rdp_cookie,
        COOKIE: lambda arrival: arrival.cookie,
        LEARNED_COOKIE: lambda arrival: _digest(arrival.cookie),
    }[spec.key]


def shown(spec: AffinitySpec, key: bytes) -> str:
    """A key as people know it."""
    if spec.key in (SOURCE, VIA):
        return network_text(key, spec.prefix4, spec.prefix6)
    if spec.key in (TLS_SESSION, LEARNED_COOKIE):
        return key.hex()
    return key.decode("utf-8", "backslashreplace")


def key_called(spec: AffinitySpec, text: str) -> bytes:
    """
    The key that people call so; any address of a network will do for it.

    Raises `Invalid` for what can be no key of this table.
    """
    if spec.key in (SOURCE, VIA):
        return network_of(str(read_network(text).network_address), spec.prefix4, spec.prefix6)
    if spec.key in (TLS_SESSION, LEARNED_COOKIE):
        try:
            return bytes.fromhex(text)
        except ValueError:
            what = "id of a TLS session" if spec.key == TLS_SESSION else "entry of cookies"
            raise Invalid(f"{quoted(text)} is no {what}: digits 0 to f, two for each byte") from None
    return text.encode("utf-8", "surrogatepass")


def _digest(cookie: bytes) -> bytes:
    return blake2b(cookie, digest_size=_DIGEST).digest() if cookie else b""
