"""
Who asks the authorities whether our certificates are revoked, so that clients need not?  (OCSP, RFC 6960.)

Every few seconds the certificates in use are looked at, where a listener has ``ocsp=fetch``.  For a new one
the responder is asked that it names; what it answers is checked as clients would (`proxyd.relay.tls.staple`),
sent to them with the certificate, kept over restarts, and fetched anew halfway to its end.  If that fails the
one before is sent for as long as it holds, and no longer.

A certificate that is revoked is served on without a response, as with nginx and HAProxy, and the log says so
as loudly as it can: to take it away would be to serve nothing.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Callable, Iterable, Optional

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore
from twisted.logger import Logger

from proxyd.policy.attempts import Attempts
from proxyd.policy.ocsp import refresh_at
from proxyd.relay.tls.certificate import UNREADABLE, Certificate, Staple
from proxyd.relay.tls.staple import Revoked, Unfit, checked
from proxyd.snapshots import OcspSnapshot
from proxyd.upkeep.fetch import FetchFailed, fetch
from proxyd.upkeep.periodic import Periodic
from proxyd.upkeep.statefile import StateFolder
from proxyd.walltime import WallTime

SECTION = "ocsp"

LOOK_SECONDS = 5.0

MARGIN_SECONDS = (
    2 * LOOK_SECONDS
)  # by which a response is taken away before it ends, so that none is sent after

AT_ONCE = 4  # responders that are asked at a time

LONGEST = 64 * 1024  # bytes of a response; most have less than 2,000, and all of it goes into each handshake

_HEADERS = {"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"}


class Unanswered(Exception):
    """There is no response that could be sent; the text says why."""


@define
class _Known:
    """A certificate, wherever it is in use, and what its authority says of it."""

    certificates: list[Certificate]
    url: str
    staple: Optional[Staple] = None
    attempts: Attempts = Attempts()
    next_at: float = 0.0  # wall time, as what the response says; the attempts are by the clock of deadlines
    fetched: int = 0
    failed: int = 0
    said: str = field(default="")

    @property
    def certificate(self) -> Certificate:
        """One of them; they differ in where they are in use."""
        return self.certificates[0]


class OcspResponses:
    """The responses for the certificates that ``in_use`` names; they are put into these."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        random: Callable[[], float],
        in_use: Callable[[], Iterable[Certificate]],
        kept: StateFolder,
        wall: WallTime,
    ) -> None:
        self._reactor = reactor
        self._random = random
        self._in_use = in_use
        self._kept = kept
        self._wall = wall
        self._seen: list[Certificate] = []
        self._known: dict[x509.Certificate, _Known] = {}
        self._before: dict[str, bytes] = {}
        self._turns = DeferredSemaphore(AT_ONCE)
        self._looking = Periodic(reactor, random, LOOK_SECONDS, self.look)

    def start(self) -> None:
        """Send what the process before has had, and begin to look after it."""
        if not any(True for _ in self._in_use()):
            return
        self._before = self._read()
        self._match()
        self._kept.keep(SECTION, self._dump)
        self._looking.start()

    def stop(self) -> Deferred[Any]:
        """Look no more, and give up what is being asked."""
        return self._looking.stop()

    async def look(self) -> None:
        """Fetch what is due; what has ended to hold is sent no more."""
        self._match()
        now, wall = self._reactor.seconds(), self._wall.now()
        due = [
            known
            for known in self._known.values()
            if known.url and wall >= known.next_at and now >= known.attempts.not_before
        ]
        # Not gatherResults: when that is cancelled it fails with something else.
        await DeferredList([self._turns.run(self._renew, known) for known in due], consumeErrors=True)

    def snapshots(self) -> tuple[OcspSnapshot, ...]:
        """What is known of each certificate."""
        return tuple(
            OcspSnapshot(
                file=known.certificate.path,
                url=known.url,
                until=known.staple.until if known.staple is not None else 0.0,
                next_at=max(known.next_at, self._again_at(known)),
                fetched=known.fetched,
                failed=known.failed,
                trouble=known.attempts.why,
            )
            for known in self._known.values()
        )

    def _again_at(self, known: _Known) -> float:
        """When it is tried again, after failures."""
        return known.attempts.not_before + self._wall.offset if known.attempts.failures else 0.0

    def _match(self) -> None:
        """See which certificates are in use, and give each what there is for it."""
        wall = self._wall.now()
        in_use = list(self._in_use())
        if in_use != self._seen:  # the same objects; to compare what is in them would take long for thousands
            self._seen = in_use
            found: dict[x509.Certificate, list[Certificate]] = {}
            for one in in_use:
                found.setdefault(one.leaf, []).append(one)
            self._known = {
                leaf: self._known.get(leaf) or self._begin(ones, wall) for leaf, ones in found.items()
            }
            for leaf, known in self._known.items():
                known.certificates = found[leaf]
        for known in self._known.values():
            if known.staple is not None and known.staple.until <= wall + MARGIN_SECONDS:
                known.staple = None
            _send(known)

    def _begin(self, certificates: list[Certificate], wall: float) -> _Known:
        """A certificate that is new: with the response that was kept, if that is still good."""
        certificate = certificates[0]
        known = _Known(certificates, _responder(certificate.leaf))
        why = "" if known.url else "names nobody who could be asked"
        if known.url and certificate.issuer is None:
            known.url, why = "", "can be asked for only if its issuer's certificate is appended"
        if why:
            known.attempts = Attempts(why=why)
            self._log.info("{path}: ocsp=fetch: {why}", path=certificate.path, why=why)
            return known
        der = self._before.pop(_print(certificate), None)
        if der is not None:
            try:
                known.staple = checked(der, certificate, wall)
                known.next_at = refresh_at(wall, known.staple.until, self._random())
            except Unfit:
                pass  # it is of before, and another is had at once
        return known

    async def _renew(self, known: _Known) -> None:
        """Fetch a response, and send it from then on."""
        try:
            staple = await self._fetch(known)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
            self._note_failure(known, error)
        else:
            wall = self._wall.now()
            known.staple, known.attempts = staple, Attempts()
            known.next_at = refresh_at(wall, staple.until, self._random())
            known.fetched += 1
            known.said = ""
            self._log.info(
                "{path}: its authority says that it is good, for {hours:.1f} h; asked again in {next:.1f} h",
                path=known.certificate.path,
                hours=(staple.until - wall) / 3600,
                next=(known.next_at - wall) / 3600,
            )
        _send(known)
        self._kept.changed(SECTION)

    async def _fetch(self, known: _Known) -> Staple:
        certificate = known.certificate
        assert certificate.issuer is not None
        # SHA-1 names the issuer here and protects nothing; responders must know it (RFC 5019, 2.1.1).
        asked = ocsp.OCSPRequestBuilder().add_certificate(certificate.leaf, certificate.issuer, hashes.SHA1())
        body = asked.build().public_bytes(serialization.Encoding.DER)
        answer = await fetch(self._reactor, "POST", known.url, _HEADERS, body)
        if answer.status != 200:
            raise Unanswered(f"its answer has status {answer.status}")
        if len(answer.body) > LONGEST:
            raise Unanswered(f"its answer has more than {LONGEST // 1024} KiB")
        try:
            return checked(answer.body, certificate, self._wall.now())
        except Revoked:
            raise
        except Unfit as why:
            raise Unanswered(f"its answer {why}") from None

    def _note_failure(self, known: _Known, error: Exception) -> None:
        now = self._reactor.seconds()
        known.failed += 1
        known.attempts = known.attempts.failed(now, str(error) or type(error).__name__, 0.0, self._random())
        known.next_at = 0.0
        path, why = known.certificate.path, known.attempts.why
        if isinstance(error, Revoked):
            known.staple = None
            self._log.critical(
                "{path}: ITS AUTHORITY SAYS THAT IT IS REVOKED; it is served, but clients that ask the "
                "authority themselves refuse it: have another, and put it in its place",
                path=path,
            )
        elif not isinstance(error, (FetchFailed, Unanswered)):
            self._log.failure("{path}: OCSP has failed", path=path)
        elif why != known.said:
            left = known.staple.until - self._wall.now() if known.staple is not None else 0.0
            self._log.warn(
                "{path}: {url}: {why}; asked again in {pause:.0f} s, {meanwhile}",
                path=path,
                url=known.url,
                why=why,
                pause=known.attempts.not_before - now,
                meanwhile=f"the response before holds for {left / 3600:.1f} h"
                if left > 0
                else "none is sent",
            )
        known.said = why

    def _read(self) -> dict[str, bytes]:
        """What the process before has kept, by the certificates' fingerprints."""
        found = self._kept.read(SECTION)
        if found is None:
            return {}
        try:
            return {str(name): base64.b64decode(text) for name, text in found[0].items()}
        except (AttributeError, TypeError, ValueError, binascii.Error):
            self._kept.refuse(SECTION, "it is no table of responses")
            return {}

    def _dump(self) -> Any:
        return {
            _print(known.certificate): base64.b64encode(known.staple.der).decode("ascii")
            for known in self._known.values()
            if known.staple is not None
        }


def _send(known: _Known) -> None:
    """Have it sent with the certificate, from the next handshake on."""
    for certificate in known.certificates:
        certificate.staple = known.staple


def _print(certificate: Certificate) -> str:
    return certificate.leaf.fingerprint(hashes.SHA256()).hex()


def _responder(leaf: x509.Certificate) -> str:
    """Where the authority can be asked, as the certificate says; empty if it does not say, or not by HTTP."""
    try:
        access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return ""
    for one in access:
        url = one.access_location.value
        is_ocsp = one.access_method == AuthorityInformationAccessOID.OCSP
        if is_ocsp and isinstance(url, str) and url.lower().startswith(("http://", "https://")):
            return url
    return ""
