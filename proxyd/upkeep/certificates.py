"""
When are certificates read again, and who is told what came of it?

Every few seconds the files are looked at, in a thread: one that looks other than when it was read, and the
same as a look ago (so nobody is writing it any more), is read, and so are all when a certificate begins or
ends to be valid.  What is right is taken, all at once; what is wrong is said, and the old one stays.  A key
without its certificate, or half a file, is what comes of replacing them one after another: that is said only
if it lasts.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any, Callable, Iterator, Mapping, Optional

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from proxyd.config.tls import TlsSpec
from proxyd.policy.acme import Answers
from proxyd.relay.tls.certificate import Certificate, Trouble, day
from proxyd.relay.tls.files import State
from proxyd.relay.tls.termination import Termination
from proxyd.snapshots import CertificateSnapshot, ReloadSnapshot
from proxyd.upkeep.periodic import InThread, Periodic
from proxyd.walltime import WallTime

LOOK_SECONDS = 3.0

PATIENCE = 30.0  # seconds until a trouble that may pass is one

log = Logger()


class Watched:
    """One listener's certificates, and what has been seen and said of them."""

    def __init__(self, termination: Termination, wall: float) -> None:
        """``wall`` is when they were read."""
        self.termination = termination
        self._read_at = wall
        self.taken = 0
        self.refused = 0
        self._seen: Mapping[str, State] = {}
        self._said: set[Trouble] = set()
        self._passing_since: dict[Trouble, float] = {}

    def must_load(self, states: Mapping[str, State], wall: float) -> bool:
        """Whether files that look like this must be read now."""
        settled, self._seen = states == self._seen, states
        loaded = self.termination.loaded
        # Who is valid is another question when the clock was set back.
        return (settled and states != loaded.reading.states) or not self._read_at <= wall < loaded.until

    def take(self, loaded: Any, wall: float) -> None:
        """Use what was loaded at that time, and say what is new."""
        self._read_at = wall
        before = {one.identity for one in self.termination.loaded.certificates}
        self.termination.take(loaded)
        new = [one for one in loaded.certificates if one.identity not in before]
        for one in new:
            log.info(
                "{path}: is served from now on, for {names}, until {day}",
                path=one.path,
                names=", ".join(one.names) or "nobody by name",
                day=day(one.not_after),
            )
        if not loaded.troubles:
            self.taken += 1

    def complain(self, now: float) -> None:
        """Say what is wrong, once, and what may pass only when it has lasted."""
        loaded = self.termination.loaded
        self._passing_since = {
            trouble: self._passing_since.get(trouble, now) for trouble in loaded.troubles if trouble.passing
        }
        lasting = [
            one for one in loaded.troubles if now >= self._passing_since.get(one, -PATIENCE) + PATIENCE
        ]
        new = [one for one in lasting if one not in self._said]
        for trouble in new:
            log.error(
                "[{section}] tls: {trouble}; what was there before is served on",
                section=self.termination.section,
                trouble=trouble,
            )
        self.refused += bool(new)
        self.warn()
        self._said = {*lasting, *loaded.warnings, *loaded.expired}

    def introduce(self) -> None:
        """Say what is served."""
        loaded = self.termination.loaded
        log.info(
            "[{section}] tls: {certificates} for {names}; the default is that of {path}",
            section=self.termination.section,
            certificates=_counted(len(loaded.certificates), "certificate"),
            names=_counted(len({name for one in loaded.certificates for name in one.names}), "name"),
            path=loaded.table.default[0].path,
        )

    def warn(self) -> None:
        """Say what is served although it is not as it should be."""
        loaded = self.termination.loaded
        for trouble in (*loaded.expired, *loaded.warnings):
            if trouble not in self._said:
                log.warn("[{section}] tls: {trouble}", section=self.termination.section, trouble=trouble)
        self._said.update(loaded.warnings, loaded.expired)

    def unreadable(self) -> Iterator[str]:
        """Files that the process cannot read any more, now that it has given up its privileges."""
        for path in self.termination.loaded.reading.states:
            if os.path.exists(path) and not os.access(path, os.R_OK):
                yield path


class CertificateFiles:
    """The files of all certificates with which TLS ends here."""

    def __init__(
        self,
        clock: Any,
        random: Callable[[], float],
        in_thread: InThread,
        wall: WallTime,
        answers: Optional[Answers] = None,
    ) -> None:
        """``answers`` are for authorities that look whether a name is ours."""
        self._answers = answers
        self._clock = clock
        self._in_thread = in_thread
        self._wall = wall
        self._watched: dict[tuple[str, TlsSpec], Watched] = {}
        self._looking = Periodic(clock, random, LOOK_SECONDS, self.look)

    def load(self, section: str, spec: TlsSpec) -> Termination:
        """
        The certificates that a section asks for, loaded at once, and looked after from the start on.

        Raises `StartError`.
        """
        if (section, spec) not in self._watched:
            termination = Termination(section, spec, self._answers)
            wall = self._wall.now()
            termination.begin(wall)
            self._watched[section, spec] = Watched(termination, wall)
        return self._watched[section, spec].termination

    def start(self) -> None:
        """Begin to look after them, and say what is amiss already."""
        for one in self._watched.values():
            one.introduce()
            one.warn()
            for path in one.unreadable():
                log.warn(
                    "{path}: cannot be read as uid {uid}, so it will not be served when it is renewed; "
                    "give the group of that user the right to read it",
                    path=path,
                    uid=os.geteuid(),
                )
        if self._watched:
            self._looking.start()

    def stop(self) -> Deferred[Any]:
        """Look no more."""
        return self._looking.stop()

    async def look(self) -> None:
        """Look at all files, and read those that have changed."""
        for one in self._watched.values():
            await self._look_at(one)

    async def _look_at(self, watched: Watched) -> None:
        termination = watched.termination
        now, wall = self._clock.seconds(), self._wall.now()
        states = await self._in_thread(termination.look)
        if watched.must_load(states, wall):
            watched.take(await self._in_thread(partial(termination.load, wall)), wall)
        watched.complain(now)

    def with_ocsp(self, ocsp: str) -> Iterator[Certificate]:
        """The certificates in use whose listeners have this word for ``ocsp=``."""
        for one in self._watched.values():
            if one.termination.spec.ocsp == ocsp:
                yield from one.termination.loaded.certificates

    def certificates(self) -> tuple[CertificateSnapshot, ...]:
        """All certificates, and behind them the files that none could be had of."""
        return tuple(row for one in self._watched.values() for row in _rows(one.termination))

    def reloads(self) -> tuple[ReloadSnapshot, ...]:
        """How often files were read again since the start, for each listener."""
        return tuple(
            ReloadSnapshot(_listener(one.termination), one.taken, one.refused)
            for one in self._watched.values()
        )


def _rows(termination: Termination) -> Iterator[CertificateSnapshot]:
    loaded = termination.loaded
    troubles = {trouble.path: trouble.text for trouble in (*loaded.expired, *loaded.troubles)}
    for one in loaded.certificates:
        found = [troubles.pop(path) for path in one.paths if path in troubles]
        yield CertificateSnapshot(
            listener=_listener(termination),
            paths=one.paths,
            names=one.names,
            key_type=one.key_type,
            issuer=one.issued_by,
            not_after=one.not_after,
            staple=_staple(one),
            trouble="; ".join(found),
        )
    for path, text in troubles.items():
        yield CertificateSnapshot(_listener(termination), (path,), trouble=text)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _listener(termination: Termination) -> str:
    return termination.section.replace("listener ", "", 1)


def _staple(one: Certificate) -> str:
    if one.staple is not None:
        return f"until {day(one.staple.until)}"
    return "missing" if one.must_staple else ""
