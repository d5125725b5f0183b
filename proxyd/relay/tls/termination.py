"""
Which certificates does a listener end TLS with, now and after they have changed?

A `Termination` is loaded once before the daemon starts; there whatever is wrong is an error.  From then on it
is loaded again and again: where a file has changed to the worse its old certificate stays in use, and all
that is right is taken at once, in one assignment.  Connections that stand are not touched.
"""

from __future__ import annotations

import hashlib
import os
from typing import Iterator, Mapping, Optional, Sequence

from attrs import evolve, field, frozen
from OpenSSL import SSL

from proxyd.config.tls import FILE, OFF, TlsSpec
from proxyd.errors import StartError
from proxyd.policy.acme import Answers
from proxyd.policy.certificates import NEVER, Certificates
from proxyd.relay.tls.certificate import SOON, Certificate, Trouble, judged
from proxyd.relay.tls.challenge import answering
from proxyd.relay.tls.clients import judge, read_authorities
from proxyd.relay.tls.context import ClientAuthorities, Unusable, make_context
from proxyd.relay.tls.files import Reading, State, contents, look, no_default, read, staple_path, state_of
from proxyd.relay.tls.staple import Unfit, checked

AGAIN_SECONDS = 30.0  # after which what is wrong is read again, however it looks

MOST_ASKED = 10_000  # names that are remembered: anybody can ask for any

Chosen = tuple[Certificate, ...]


@frozen
class Loaded:
    """
    What a listener's files have come to: certificates, and a context for each set of them that is chosen.

    ``troubles`` are what was refused, ``expired`` what only a start refuses, ``warnings`` what is served all
    the same.  It is to be loaded again when a file looks other than in ``reading.states``, or at ``until``.
    ``asked`` remembers what names have led to.
    """

    reading: Reading = Reading()
    table: Certificates[Certificate] = field(factory=lambda: Certificates[Certificate]([], 0.0))
    contexts: Mapping[tuple[Certificate, ...], SSL.Context] = field(factory=dict)
    clients: Optional[ClientAuthorities] = None
    troubles: tuple[Trouble, ...] = ()
    expired: tuple[Trouble, ...] = ()
    warnings: tuple[Trouble, ...] = ()
    until: float = 0.0
    asked: dict[str, SSL.Context] = field(factory=dict)

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """All that are in use, in the order of their files."""
        return self.reading.certificates


class Termination:
    """
    TLS as it ends at a listener.

    ``front`` is the context that connections begin with, and stays the same; ``loaded`` is what is in use.
    """

    def __init__(self, section: str, spec: TlsSpec, answers: Optional[Answers] = None) -> None:
        """
        ``section`` is where the operator has asked for it, such as "listener web".

        ``answers`` are for authorities that look whether a name is ours; they are given if some of the
        certificates come from such.  Raises `StartError` if OpenSSL does not know what is asked for.
        """
        self.section = section
        self.spec = spec
        self.loaded = Loaded()
        self._session_id = hashlib.sha256(f"{section} {spec}".encode()).digest()
        self._challenge = answering(answers) if answers is not None and spec.acme else None
        try:
            self.front = make_context(spec, self._session_id)
        except Unusable as why:
            raise StartError((f"[{section}] tls: {why}",)) from None
        # Without a certificate the handshake fails: for names that there are not, if that is strict.
        self._none = make_context(spec, self._session_id, challenge=self._challenge)
        self.front.set_tlsext_servername_callback(self._choose)

    def begin(self, wall: float) -> None:
        """Load the certificates before the daemon starts.  Raises `StartError` with all that is wrong."""
        found = self.load(wall)
        wrong = found.troubles if self.spec.serve_expired else (*found.troubles, *found.expired)
        if wrong:
            raise StartError(tuple(f"[{self.section}] tls: {trouble}" for trouble in wrong))
        self.take(found)

    def look(self) -> dict[str, State]:
        """What all files look like from outside."""
        states = look(self.spec)
        for path in self._client_files():
            states[path] = state_of(path)
        return states

    def load(self, wall: float) -> Loaded:
        """
        What the files say now, with what is in use in the place of what is wrong.

        May run in a thread; nothing is changed but OCSP responses of certificates in use, each at once.
        """
        before, spec = self.loaded, self.spec
        own, states = look(spec), self.look()
        reading = read(spec, own, before.reading)
        troubles, warnings = list(reading.troubles), list(reading.warnings)
        clients = self._load_clients(states, troubles)
        contexts = dict(before.contexts) if clients is before.clients else {}
        troubles += _emptied(reading, before.certificates, troubles)
        found = _recognized(reading.certificates, before.certificates)
        usable = self._usable(found, clients, contexts, troubles)
        certificates = _with_what_was(usable, before.certificates, states, troubles)
        try:
            table = Certificates(certificates, wall, spec.default)
        except LookupError:
            troubles.append(no_default(spec))
            certificates, table = before.certificates, before.table
        self._staple(certificates, states, wall, warnings)
        times = [one.staple.until for one in certificates if one.staple is not None]
        if clients is not None:
            times += judge(spec, clients, wall, warnings)
        times += [wall + AGAIN_SECONDS] if troubles else []
        times += [one.not_after - SOON for one in certificates if one.not_after - SOON > wall]
        return Loaded(
            evolve(reading, states=states, certificates=certificates),
            table,
            {
                chosen: contexts.get(chosen)
                or make_context(spec, self._session_id, chosen, clients, self._challenge)
                for chosen in _choices(table, certificates)
            },
            clients,
            tuple(troubles),
            tuple(judged(certificates, table, wall, warnings)),
            tuple(warnings),
            min(table.until, *times, NEVER),
        )

    def take(self, found: Loaded) -> None:
        """Use what was loaded, for every handshake from now on."""
        self.loaded = found

    def context_for(self, name: str) -> SSL.Context:
        """The context for clients that ask for this name, or, with "", for none."""
        loaded = self.loaded
        context = loaded.asked.get(name)
        if context is None:
            chosen = loaded.table.choose(name)
            if chosen is None:
                chosen = () if self.spec.strict_sni else loaded.table.default
            context = loaded.contexts.get(chosen, self._none)
            if len(loaded.asked) < MOST_ASKED:
                loaded.asked[name] = context
        return context

    def _choose(self, connection: SSL.Connection) -> None:
        name = connection.get_servername() or b""
        connection.set_context(self.context_for(name.decode("ascii", "replace")))

    def _client_files(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.spec.client_ca, self.spec.client_crl)))

    def _load_clients(
        self, states: Mapping[str, State], troubles: list[Trouble]
    ) -> Optional[ClientAuthorities]:
        before, files = self.loaded, self._client_files()
        wrong = any(trouble.path in files for trouble in before.troubles)  # told for as long as it is
        if not wrong and all(states[path] == before.reading.states.get(path) for path in files):
            return before.clients
        return read_authorities(self.spec, troubles) or before.clients

    def _usable(
        self,
        certificates: Sequence[Certificate],
        clients: Optional[ClientAuthorities],
        contexts: dict[Chosen, SSL.Context],
        troubles: list[Trouble],
    ) -> list[Certificate]:
        """Those that OpenSSL takes; each has a context of its own then."""
        usable = []
        for one in certificates:
            try:
                if (one,) not in contexts:
                    contexts[one,] = make_context(
                        self.spec, self._session_id, (one,), clients, self._challenge
                    )
                usable.append(one)
            except Unusable as why:
                troubles.append(Trouble(one.path, str(why)))
        return usable

    def _staple(
        self,
        certificates: Sequence[Certificate],
        states: Mapping[str, State],
        wall: float,
        warnings: list[Trouble],
    ) -> None:
        """Give each certificate the response beside it, if that is good, and take away what has run out."""
        for one in certificates if self.spec.ocsp != OFF else ():
            path = staple_path(one.path, states) if self.spec.ocsp == FILE else None
            if path is not None:
                try:
                    one.staple = checked(contents(path), one, wall)
                except (Unfit, OSError) as why:
                    warnings.append(Trouble(path, f"{why}; it is not sent"))
            if one.staple is not None and one.staple.until <= wall:
                one.staple = None
            if one.must_staple and one.staple is None and self.spec.ocsp == FILE:
                text = "asks clients to insist on an OCSP response, and none that is good is beside it"
                warnings.append(Trouble(one.path, text))


def _choices(table: Certificates[Certificate], certificates: Sequence[Certificate]) -> Iterator[Chosen]:
    """Every set of certificates that may be chosen."""
    seen = dict.fromkeys([table.default])
    for one in certificates:
        for name in one.names:
            found = table.choose(name)
            if found is not None:
                seen[found] = None
    return filter(None, seen)


def _recognized(found: Sequence[Certificate], before: Sequence[Certificate]) -> list[Certificate]:
    """The same, where what is in use already is that same object: it has its staple and its context."""
    same = set(before).intersection(found)
    known = {(one.paths, one.identity): one for one in before if one not in same}
    return [one if one in same else known.get((one.paths, one.identity), one) for one in found]


def _emptied(
    reading: Reading, before: Sequence[Certificate], troubles: Sequence[Trouble]
) -> Iterator[Trouble]:
    """Files that are there, and have no longer in them what is in use."""
    leaves = {one.leaf for one in reading.certificates}
    paths = {one.path for one in reading.certificates} | {trouble.path for trouble in troubles}
    for one in before:
        if one.path in reading.states and not paths.intersection(one.paths) and one.leaf not in leaves:
            yield Trouble(one.path, "has no certificate any more", passing=True)


def _places(one: Certificate) -> Iterator[str]:
    """Its files, and the folders that they were found in."""
    for path in one.paths:
        yield from (path, os.path.dirname(path), os.path.dirname(os.path.dirname(path)))


def _with_what_was(
    found: Sequence[Certificate],
    before: Sequence[Certificate],
    states: Mapping[str, State],
    troubles: Sequence[Trouble],
) -> tuple[Certificate, ...]:
    """The same, in the order of their files, with those in use whose files are not right now."""
    have = {one.path for one in found}
    bad = {trouble.path for trouble in troubles}
    stay = [one for one in before if one.path not in have and (not found or bad.intersection(_places(one)))]
    order = {path: place for place, path in enumerate(states)}
    return tuple(sorted((*found, *stay), key=lambda one: order.get(one.path, len(order))))
