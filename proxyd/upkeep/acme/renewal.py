"""
When is each certificate had or renewed, and what has come of it?

Each certificate is seen to by a coroutine, `_Certificate.keep`: it sleeps until its certificate is due, has
it made, and sleeps again.  Of one authority only one is made at a time.  What serves meanwhile is what there
is: a placeholder before the first, and then the one before, whatever happens, expired or not.

How often it went wrong, and until when to leave the authority alone, outlives the process, so that one which
is started again and again does not use up what the authority lets us try.
"""

from __future__ import annotations

from math import inf
from typing import Any, Callable, Iterator, Optional, Sequence

from attrs import asdict
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, gatherResults
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyd.config.acme import AcmeSpec, CertificateSpec
from proxyd.config.probes import TlsAsk
from proxyd.errors import Malformed
from proxyd.policy.acme import Answers, late, renew_at
from proxyd.policy.attempts import Attempts
from proxyd.snapshots import AcmeSnapshot
from proxyd.upkeep.acme.client import AcmeClient, AcmeFailed
from proxyd.upkeep.acme.folder import AcmeFolder
from proxyd.upkeep.acme.issuance import Issuance
from proxyd.upkeep.acme.keys import Held
from proxyd.upkeep.fetch import Fetched, fetch
from proxyd.upkeep.periodic import InThread
from proxyd.upkeep.probes.conversation import Unable
from proxyd.upkeep.probes.tls import creator
from proxyd.upkeep.statefile import StateFolder
from proxyd.walltime import WallTime
from proxyd.wire import acme

SECTION = "acme"

START_SECONDS = 60.0  # over which renewals that are due at a start are spread
SLEEP_SECONDS = 3600.0  # at most: clocks are set, and so are the dates of certificates nearer, or farther

ADVICE_SECONDS = 6 * 3600.0  # between two looks at what the authority advises; RFC 9773 4.3.2 has the same
LEAST_ADVICE_SECONDS = 60.0
MOST_ADVICE_SECONDS = 86400.0  # RFC 9773, 4.3.2

AGAIN_SECONDS = 3600.0  # between two renewals, however wrong a clock or the authority's advice may be

DAY = 86400.0

_LONGEST_WHY = 1000


class AcmeCertificates:
    """The certificates of all authorities; ``answers`` is what is said when these look at us."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        random: Callable[[], float],
        specs: Sequence[AcmeSpec],
        state: str,
        kept: StateFolder,
        in_thread: InThread,
        wall: WallTime,
    ) -> None:
        """``kept`` is the folder ``state``."""
        self.answers = Answers()
        self._reactor = reactor
        self._kept = kept
        self._authorities = [
            _Authority(reactor, random, spec, state, self, in_thread, wall) for spec in specs
        ]
        self._running: list[Deferred[None]] = []

    def prepare(self) -> list[str]:
        """See that there is something to serve for each certificate; a line for each thing wrong."""
        return [line for authority in self._authorities for line in authority.prepare()]

    def start(self) -> None:
        """Begin to see to them."""
        if not self._authorities:
            return
        for authority in self._authorities:
            if not authority.folder.writable():
                self._log.error(
                    "[acme {name}] {path} cannot be written by the user that proxyd runs as; "
                    "let [proxyd] state belong to it",
                    name=authority.spec.name,
                    path=authority.folder.path,
                )
        self._take_over()
        self._kept.keep(SECTION, self._dump)
        self._running = [Deferred.fromCoroutine(one.keep()).addErrback(self._ended) for one in self._each()]

    def _ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("a certificate is not seen to any more", failure)

    async def stop(self) -> None:
        """Have no more made, and give up what is being made; that is gone on with by the next process."""
        for one in self._running:
            one.cancel()
        await gatherResults(self._running)

    def changed(self) -> None:
        """Something has come of a try."""
        self._kept.changed(SECTION)

    def snapshots(self) -> tuple[AcmeSnapshot, ...]:
        """How all of them are."""
        return tuple(one.snapshot() for one in self._each())

    def _each(self) -> Iterator[_Certificate]:
        return (one for authority in self._authorities for one in authority.certificates)

    def _dump(self) -> Any:
        return [one.remember() for one in self._each() if one.attempts.failures]

    def _take_over(self) -> None:
        found = self._kept.read(SECTION)
        if found is None:
            return
        try:
            for entry in found[0]:
                for one in self._each():
                    one.take_over(entry)
        except (TypeError, LookupError, ValueError) as error:
            self._kept.refuse(SECTION, f"it is no list of tries ({error})")


class _Authority:
    """One authority: its certificates, and what they share."""

    def __init__(
        self,
        reactor: Any,
        random: Callable[[], float],
        spec: AcmeSpec,
        state: str,
        all_of_them: AcmeCertificates,
        in_thread: InThread,
        wall: WallTime,
    ) -> None:
        self.spec = spec
        self.folder = AcmeFolder(state, spec)
        self.turn = DeferredLock()
        self._reactor = reactor
        self._answers = all_of_them.answers
        self._in_thread = in_thread
        self._wall = wall
        self._external_key = b""
        self.certificates = [
            _Certificate(reactor, random, self, one, all_of_them.changed, wall) for one in spec.certificates
        ]

    def prepare(self) -> list[str]:
        """Read what the configuration names, and see that there is something to serve."""
        wrong = []
        external = self.spec.external_account
        if external is not None:
            try:
                with open(external.key_file, encoding="ascii") as file:
                    self._external_key = acme.from_base64url(file.read(1000).strip())
            except (OSError, ValueError, Malformed) as error:
                why = error.strerror if isinstance(error, OSError) else "is no key in base64url"
                wrong.append(f"[acme {self.spec.name}] external_account: {external.key_file}: {why}")
        try:
            creator(TlsAsk(verify="localhost", ca=self.spec.ca))
        except Unable as why:
            wrong.append(f"[acme {self.spec.name}] ca: {why}")
        return wrong + self.folder.prepare(self._wall.now())

    async def fetch(self, method: str, url: str, headers: Any, body: Optional[bytes]) -> Fetched:
        """Ask the authority."""
        return await fetch(self._reactor, method, url, headers, body, self.spec.ca)

    def issuance(self) -> Issuance:
        """What has a certificate made."""
        return Issuance(
            self._reactor,
            self._wall,
            self.spec,
            self.folder,
            self._answers,
            self.fetch,
            self._in_thread,
            self._external_key,
        )

    async def advice(self, held: Held) -> tuple[Optional[tuple[float, float]], float]:
        """When the authority says that a certificate should be renewed, and in how long to ask again."""
        client = AcmeClient(self.fetch, self._wall, self.spec.directory, self.folder.account())
        directory = await client.directory()
        if not directory.renewal_info or not held.id:
            return None, MOST_ADVICE_SECONDS
        answer = await client.get(f"{directory.renewal_info.rstrip('/')}/{held.id}")
        pause = client.wait(answer) or ADVICE_SECONDS
        window: tuple[float, float] = client.read(acme.renewal_window, answer)
        return window, min(max(pause, LEAST_ADVICE_SECONDS), MOST_ADVICE_SECONDS)


class _Certificate:
    """One certificate: what there is of it, when it is renewed, and what came of it."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        random: Callable[[], float],
        authority: _Authority,
        spec: CertificateSpec,
        changed: Callable[[], object],
        wall: WallTime,
    ) -> None:
        self.spec = spec
        self.attempts = Attempts()
        self._reactor = reactor
        self._random = random
        self._authority = authority
        self._changed = changed
        self._wall = wall
        self._held: Optional[Held] = None
        self._window: Optional[tuple[float, float]] = None
        self._chance = 0.0  # where in the window
        self._advised_at = 0.0  # when to ask for the window again
        self._not_before = 0.0  # when it may be renewed, whatever else holds
        self._renewed = self._failed = 0

    async def keep(self) -> None:
        """See to it for as long as the daemon runs."""
        self._held = self._authority.folder.held(self.spec)
        if self._held is None or self._held.placeholder:
            self._log.warn(
                "[acme {name}] certificate {certificate} is yet to be had; a placeholder serves that nobody "
                "trusts",
                name=self._name,
                certificate=self.spec.name,
            )
        if self._fits() and not self._late():
            self._advised_at = self._not_before = self._reactor.seconds() + self._random() * START_SECONDS
        while True:
            moment = min(self._due(), self._advised_at) if self._fits() else self._due()
            pause = moment - self._reactor.seconds()
            if pause > 0:
                await deferLater(self._reactor, min(pause, SLEEP_SECONDS))
                continue
            if self._fits() and self._reactor.seconds() >= self._advised_at:
                await self._take_advice()
            if self._reactor.seconds() >= self._due():
                await self._authority.turn.run(self._renew)

    def _fits(self) -> bool:
        """Whether there is one from the authority that is as the configuration wants it."""
        held = self._held
        if held is None or held.placeholder or held.kind != self.spec.key:
            return False
        return set(self.spec.names) <= set(held.names)

    def _late(self) -> bool:
        """Whether it should have been renewed long ago."""
        held = self._held
        return held is not None and late(self._wall.now(), held.not_before, held.not_after)

    def _due(self) -> float:
        """
        When it is to be renewed, or had, by the reactor's seconds.

        That is by the dates of the certificate, and not before the authority and our own patience want it.
        """
        moment = -inf
        if self._held is not None and self._fits():
            date = renew_at(self._held.not_before, self._held.not_after, self._window, self._chance)
            moment = date - self._wall.offset
        return max(moment, self._not_before, self.attempts.not_before)

    async def _take_advice(self) -> None:
        """Ask the authority when to renew; if it does not say, nothing has changed."""
        assert self._held is not None
        window, pause = None, ADVICE_SECONDS
        try:
            window, pause = await self._authority.advice(self._held)
        except AcmeFailed as why:
            self._log.info("[acme {name}] has no advice when to renew: {why}", name=self._name, why=why)
            window = self._window
        except Exception as error:
            if isinstance(error, CancelledError):
                raise
            self._log.failure("[acme {name}] when to renew", name=self._name)
            window = self._window
        if window != self._window:
            self._window, self._chance = window, self._random()
        self._advised_at = self._reactor.seconds() + pause

    async def _renew(self) -> None:
        try:
            replaced = self._held.id if self._held is not None and self._fits() else ""
            self._held = await self._authority.issuance().issue(self.spec, replaced)
        except (AcmeFailed, OSError) as error:
            self._note_failure(str(error), error.wait if isinstance(error, AcmeFailed) else 0.0)
        except Exception as error:
            if isinstance(error, CancelledError):
                raise
            self._log.failure(
                "[acme {name}] certificate {certificate}", name=self._name, certificate=self.spec.name
            )
            self._note_failure(f"{type(error).__name__}: {error}", 0.0)
        else:
            self._note_success(self._held)
        self._changed()

    def _note_success(self, held: Held) -> None:
        self._renewed += 1
        self.attempts = Attempts()
        self._window = None
        now = self._reactor.seconds()
        self._advised_at = now + ADVICE_SECONDS
        good_for = held.not_after - self._wall.now()
        self._not_before = now + min(AGAIN_SECONDS, good_for / 2)
        self._log.info(
            "[acme {name}] certificate {certificate} for {names} is there, good for {days:.1f} days; it is "
            "renewed in {renewed:.1f}",
            name=self._name,
            certificate=self.spec.name,
            names=" ".join(held.names),
            days=good_for / DAY,
            renewed=(self._due() - now) / DAY,
        )

    def _note_failure(self, why: str, wait: float) -> None:
        self._failed += 1
        now = self._reactor.seconds()
        self.attempts = self.attempts.failed(now, why[:_LONGEST_WHY], wait, self._random())
        self._log.error(
            "[acme {name}] certificate {certificate} could not be had: {why}; it is tried again in "
            "{pause:.0f} s, until then {served}",
            name=self._name,
            certificate=self.spec.name,
            why=self.attempts.why,
            pause=self.attempts.not_before - now,
            served=self._served(),
        )

    def _served(self) -> str:
        """What clients get meanwhile."""
        held = self._held
        if held is None or held.placeholder:
            return "a placeholder serves that nobody trusts"
        left = (held.not_after - self._wall.now()) / DAY
        if left <= 0:
            return f"one serves that HAS EXPIRED {-left:.1f} days ago"
        hurry = ", which is soon" if self._late() else ""
        return f"the one before serves, which expires in {left:.1f} days{hurry}"

    def snapshot(self) -> AcmeSnapshot:
        """How it is."""
        held = self._held
        return AcmeSnapshot(
            authority=self._name,
            certificate=self.spec.name,
            file=self._authority.folder.path_of(self.spec),
            names=self.spec.names,
            not_after=held.not_after if held is not None and not held.placeholder else 0.0,
            next_at=self._due() + self._wall.offset,
            renewed=self._renewed,
            failed=self._failed,
            failures=self.attempts.failures,
            trouble=self.attempts.why,
        )

    def remember(self) -> dict[str, Any]:
        """What the next process should know."""
        key = {"authority": self._name, "certificate": self.spec.name, "names": list(self.spec.names)}
        return {**key, **asdict(self.attempts.moved(self._wall.offset))}

    def take_over(self, entry: dict[str, Any]) -> None:
        """Take what the process before has known, if it was of this one.  Raises what Python raises."""
        mine = (self._name, self.spec.name, list(self.spec.names))
        if (entry["authority"], entry["certificate"], entry["names"]) != mine:
            return
        times = [float(entry["not_before"]), float(entry["asked"])]
        if not all(0 <= moment < 1e11 for moment in times):
            raise ValueError("times that are none")
        attempts = Attempts(min(int(entry["failures"]), 1000), str(entry["why"])[:_LONGEST_WHY], *times)
        self.attempts = attempts.moved(-self._wall.offset).taken_over(self._reactor.seconds())

    @property
    def _name(self) -> str:
        return self._authority.spec.name
