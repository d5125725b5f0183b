"""
How is a certificate had from an authority, from the first word to the file?

`Issuance.issue` is the whole story (RFC 8555, 7.1 "Resources"): account, order, a challenge for each name,
finalization, certificate, file.  Every wait has an end; whatever goes wrong raises `AcmeFailed`, and leaves
what is served as it was.
"""

from __future__ import annotations

from typing import Any, Optional, Sequence

from twisted.internet.task import deferLater
from twisted.logger import Logger

from proxyd.config.acme import HTTP_01, AcmeSpec, CertificateSpec
from proxyd.policy.acme import Answers
from proxyd.upkeep.acme.client import BAD_NONCE, AcmeClient, AcmeFailed, Fetch
from proxyd.upkeep.acme.folder import Account, AcmeFolder, PendingOrder
from proxyd.upkeep.acme.keys import (
    Held,
    UnfitCertificate,
    challenge_certificate,
    checked,
    new_key,
    pem_of,
    request_for,
)
from proxyd.upkeep.periodic import InThread
from proxyd.walltime import WallTime
from proxyd.wire import acme
from proxyd.wire.acme import INVALID, PENDING, PROCESSING, READY, VALID, Authorization, Order

AUTHORIZATION_SECONDS = 300.0  # for one name to be looked at; authorities try again within a minute or so
ORDER_SECONDS = 300.0  # for the certificate to be made

FIRST_LOOK = 1.0  # seconds until it is asked what has come of something; then twice as long each time
LONGEST_LOOK = 15.0

UNKNOWN_ACCOUNT = "accountDoesNotExist"
LATER = ("", BAD_NONCE, "rateLimited", "serverInternal")  # of which an order is not the cause
NO_REPLACING = ("alreadyReplaced", "malformed", "unauthorized")  # why that may be refused (RFC 9773, 5)


class Issuance:
    """Has certificates made by one authority."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        wall: WallTime,
        spec: AcmeSpec,
        folder: AcmeFolder,
        answers: Answers,
        fetch: Fetch,
        in_thread: InThread,
        external_key: bytes = b"",
    ) -> None:
        """
        ``external_key`` is that of ``spec.external_account``.

        What takes time, to make keys and to force files to the disk, is done by ``in_thread``.
        """
        self._reactor = reactor
        self._wall = wall
        self._spec = spec
        self._folder = folder
        self._answers = answers
        self._in_thread = in_thread
        self._external_key = external_key
        self._fetch = fetch
        self._client = self._new_client()

    def _new_client(self) -> AcmeClient:
        """One that asks anew where everything is, and who we are."""
        return AcmeClient(self._fetch, self._wall, self._spec.directory, self._folder.account())

    async def issue(self, wanted: CertificateSpec, replaces: str = "") -> Held:
        """Have a certificate made, and keep it.  ``replaces`` is the id of the one before."""
        self._client = self._new_client()
        await self._enter()
        pending, order = await self._take_up(wanted) or await self._order(wanted, replaces)
        if order.status == PENDING:
            await self._prove(order)
            order = await self._look(pending, PENDING)
        if order.status == READY:
            request = await self._in_thread(lambda: request_for(wanted.names, pending.key))
            finalize = {"csr": acme.base64url(request)}
            order = self._client.read(acme.order, await self._client.post(order.finalize, finalize))
        if order.status != VALID:
            order = await self._look(pending, READY, PROCESSING)
        return await self._collect(wanted, pending, order)

    # The account

    async def _enter(self) -> None:
        """Be known to the authority."""
        if self._client.account.url:
            return
        directory = await self._client.directory()
        payload: dict[str, Any] = {"termsOfServiceAgreed": True}
        if self._spec.contact:
            payload["contact"] = list(self._spec.contact)
        external = self._spec.external_account
        if external is not None:
            payload["externalAccountBinding"] = acme.bound_to(
                external.kid, self._external_key, directory.new_account, self._client.jwk
            )
        elif directory.external_account:
            raise AcmeFailed("the authority wants external_account = KID key_file=PATH, an account with it")
        account = self._client.account
        await self._keep(account)
        answer = await self._client.post(directory.new_account, payload, introduce=True)
        url = answer.headers.get("location", "")
        if not url:
            raise AcmeFailed("the authority does not say what it calls our account")
        self._client.account = Account(account.key, url)
        await self._keep(self._client.account)
        self._log.info(
            "[acme {name}] account {url}{terms}",
            name=self._spec.name,
            url=url,
            terms=f", and with it the terms in {directory.terms}" if directory.terms else "",
        )

    async def _keep(self, account: Account) -> None:
        """Keep our account, before anything else is done in its name."""
        await self._in_thread(lambda: self._folder.keep_account(account))

    async def _enter_anew(self) -> None:
        """The authority does not know our account any more: be known again, with the same key."""
        self._client.account = Account(self._client.account.key)
        await self._enter()

    # The order

    async def _take_up(self, wanted: CertificateSpec) -> Optional[tuple[PendingOrder, Order]]:
        """The order that a process before us has begun, if something can still come of it."""
        pending = self._folder.order(wanted)
        if pending is None:
            return None
        try:
            order = self._client.read(acme.order, await self._client.see(pending.url))
        except AcmeFailed as why:
            if why.kind in LATER:
                raise
            order = None
        if order is None or order.status not in (PENDING, READY, PROCESSING, VALID):
            self._folder.forget_order(wanted)
            return None
        self._log.info("[acme {name}] goes on with order {url}", name=self._spec.name, url=pending.url)
        return pending, order

    async def _order(self, wanted: CertificateSpec, replaces: str) -> tuple[PendingOrder, Order]:
        """A new order."""
        key = await self._in_thread(lambda: new_key(wanted.key))
        directory = await self._client.directory()
        payload: dict[str, Any] = {"identifiers": [{"type": "dns", "value": name} for name in wanted.names]}
        if replaces and directory.renewal_info:
            payload["replaces"] = replaces
        try:
            answer = await self._client.post(directory.new_order, payload)
        except AcmeFailed as why:
            if why.kind == UNKNOWN_ACCOUNT:
                await self._enter_anew()
            elif why.kind in NO_REPLACING and "replaces" in payload:
                del payload["replaces"]
            else:
                raise
            answer = await self._client.post(directory.new_order, payload)
        order = self._client.read(acme.order, answer)
        pending = PendingOrder(answer.headers.get("location", ""), key, wanted.names)
        if not pending.url:
            raise AcmeFailed("the authority does not say where our order is")
        await self._in_thread(lambda: self._folder.keep_order(wanted, pending))
        self._log.info(
            "[acme {name}] order {url} for {names}",
            name=self._spec.name,
            url=pending.url,
            names=" ".join(wanted.names),
        )
        return pending, order

    async def _look(self, pending: PendingOrder, *unfinished: str) -> Order:
        """The order once it is in none of these states."""

        async def look() -> tuple[Order, float]:
            answer = await self._client.see(pending.url)
            return self._client.read(acme.order, answer), self._client.wait(answer)

        order: Order = await self._until(look, unfinished, ORDER_SECONDS, "to make the certificate")
        if order.status == INVALID:
            raise AcmeFailed(f"the authority refuses the order: {order.trouble or 'it does not say why'}")
        return order

    # The names

    async def _prove(self, order: Order) -> None:
        """Show that all names of an order are ours."""
        given: list[tuple[str, str]] = []
        asked: list[str] = []
        try:
            for url in order.authorizations:
                authorization = await self._authorization(url)
                if authorization.status == PENDING:
                    given.append(await self._answer(authorization))
                    asked.append(url)
                elif authorization.status != VALID:
                    raise AcmeFailed(f"{authorization.name}: its authorization is {authorization.status}")
            for url in asked:
                await self._see_proved(url)
        finally:
            for token, name in given:
                self._answers.take_back(token, name)

    async def _answer(self, authorization: Authorization) -> tuple[str, str]:
        """Answer a challenge and tell the authority to look; the token and the name to take back later."""
        kind, name = self._spec.challenge, authorization.name
        challenge = next((one for one in authorization.challenges if one.kind == kind), None)
        if challenge is None:
            raise AcmeFailed(f"{name}: the authority does not offer {kind} for it")
        proof = acme.key_authorization(challenge.token, self._client.jwk)
        if kind == HTTP_01:
            self._answers.give_http(challenge.token, proof)
        else:
            pem = challenge_certificate(name, proof, self._wall.now())
            self._answers.give_tls(name, pem.encode("ascii"))
        try:
            await self._client.post(challenge.url, {})
        except BaseException:
            self._answers.take_back(challenge.token, name)
            raise
        return challenge.token, name

    async def _see_proved(self, url: str) -> None:
        """Wait until the authority has looked at a name, and has found what it should."""

        async def look() -> tuple[Authorization, float]:
            answer = await self._client.see(url)
            return self._client.read(acme.authorization, answer), self._client.wait(answer)

        found: Authorization = await self._until(
            look, (PENDING, PROCESSING), AUTHORIZATION_SECONDS, "to look at a name"
        )
        if found.status != VALID:
            why = found.trouble or f"its authorization is {found.status}"
            raise AcmeFailed(f"{found.name}: the authority has not found it to be ours: {why}")
        self._log.info(
            "[acme {name}] the authority has found {host} to be ours", name=self._spec.name, host=found.name
        )

    async def _authorization(self, url: str) -> Authorization:
        found: Authorization = self._client.read(acme.authorization, await self._client.see(url))
        return found

    async def _until(self, look: Any, unfinished: Sequence[str], seconds: float, what: str) -> Any:
        """What there is to see once its state is none of these; asked again and again, but not for ever."""
        end = self._reactor.seconds() + seconds
        pause = FIRST_LOOK
        while True:
            found, wait = await look()
            if found.status not in unfinished:
                return found
            left = end - self._reactor.seconds()
            if left <= 0:
                raise AcmeFailed(f"the authority has taken more than {seconds:g} s {what}")
            await deferLater(self._reactor, min(max(pause, wait), left))
            pause = min(2 * pause, LONGEST_LOOK)

    # The certificate

    async def _collect(self, wanted: CertificateSpec, pending: PendingOrder, order: Order) -> Held:
        """Fetch the certificate of an order, see that it is the right one, and keep it."""
        if order.status != VALID or not order.certificate:
            raise AcmeFailed(f"the order is {order.status}, and there is no certificate")
        chain = (await self._client.see(order.certificate)).body
        try:
            text = chain.decode("ascii")
            found = checked(text, pending.key)
            if not set(wanted.names) <= set(found.names):
                raise UnfitCertificate(f"it is for {' '.join(found.names) or 'no name'}")
            if found.not_after <= self._wall.now():
                raise UnfitCertificate("it has run out already; is the clock right?")
        except (UnicodeDecodeError, UnfitCertificate) as why:
            self._folder.forget_order(wanted)
            raise AcmeFailed(f"the authority has sent a certificate that cannot be used: {why}") from None
        await self._in_thread(lambda: self._folder.keep_certificate(wanted, pem_of(pending.key) + text))
        self._folder.forget_order(wanted)
        return found
