"""Is an authority asked as it wants to be, and told apart what it says?"""

from __future__ import annotations

from typing import Any, Coroutine

from proxyd.upkeep.acme import keys
from proxyd.upkeep.acme.client import NONCES, AcmeClient, AcmeFailed
from proxyd.upkeep.acme.folder import Account
from proxyd.upkeep.fetch import Fetched
from proxyd.wire import acme
from tests.support.acme import DIRECTORY, URL, Authority
from tests.support.case import Case
from tests.support.walltime import SetTime


class ClientTests(Case):
    def setUp(self) -> None:
        self.authority = Authority()
        self.client = AcmeClient(
            self.authority.fetch, SetTime(lambda: 1e9), DIRECTORY, Account(keys.new_account_key())
        )

    def enter(self) -> None:
        """Have an account."""
        answer = self.done(self.client.post(f"{URL}/account", {}, introduce=True))
        self.client.account = Account(self.client.account.key, answer.headers["location"])
        self.authority.asked.clear()

    def done(self, asked: Coroutine[Any, Any, Any]) -> Any:
        return self.successResultOf(asked)

    def refused(self, asked: Coroutine[Any, Any, Any]) -> AcmeFailed:
        """Why it failed."""
        failed: AcmeFailed = self.failureResultOf(asked, AcmeFailed).value
        return failed

    def order(self) -> Coroutine[Any, Any, Fetched]:
        return self.client.post(f"{URL}/new", {"identifiers": [{"type": "dns", "value": "a.example"}]})

    def test_directory(self) -> None:
        """It is asked for once."""
        found = self.done(self.client.directory())
        self.assertEqual(found.new_order, f"{URL}/new")
        self.assertIs(self.done(self.client.directory()), found)
        self.assertEqual(self.authority.asked, ["GET /directory"])

    def test_nonces(self) -> None:
        """One is asked for only where no answer has given one; each is used once."""
        self.done(self.client.post(f"{URL}/account", {}, introduce=True))
        self.assertEqual(self.authority.asked, ["GET /directory", "HEAD /nonce", "POST /account"])
        self.enter()
        self.done(self.order())
        self.done(self.client.see(f"{URL}/order/0"))
        self.assertEqual(self.authority.asked, ["POST /new", "POST /order/0"])

    def test_bad_nonces(self) -> None:
        """A nonce that is not taken costs a try; when none is, that is told."""
        self.enter()
        bad = [self.authority.refusal("badNonce", "no", 400) for _ in range(NONCES)]
        self.authority.wrong = [("/new", answer) for answer in bad[: NONCES - 1]]
        self.assertEqual(self.done(self.order()).status, 201)
        self.authority.wrong = [("/new", answer) for answer in bad]
        failed = self.refused(self.order())
        self.assertEqual(
            (str(failed), failed.kind),
            (f"{URL}/new: none of 10 nonces was taken that the authority gave out", "badNonce"),
        )

    def test_no_nonce(self) -> None:
        """An authority that gives out no nonce is told of."""
        self.authority.wrong = [("/nonce", Fetched(200, {}, b""))]
        failed = self.refused(self.client.post(f"{URL}/account", {}, introduce=True))
        self.assertEqual(str(failed), f"{URL}/nonce: the authority gives out no nonce")
        self.authority.wrong = [("/nonce", Fetched(503, {"retry-after": "60"}, b""))]
        failed = self.refused(self.client.post(f"{URL}/account", {}, introduce=True))
        self.assertEqual((str(failed), failed.wait), (f"{URL}/nonce: status 503 of HTTP", 60.0))

    def test_refusals(self) -> None:
        """What the authority says, its word for it, and for how long it wants to be left alone."""
        self.enter()
        for answer, text, kind, wait in (
            (
                self.authority.refusal("rateLimited", "too many", 429, retry_after="3600"),
                "rateLimited: too many", "rateLimited", 3600.0,
            ),
            (
                Fetched(503, {"retry-after": "Sun, 09 Sep 2001 01:47:40 GMT"}, b"<html>"),
                "status 503 of HTTP", "", 60.0,
            ),
            (Fetched(301, {"location": "https://elsewhere/"}, b""), "status 301 of HTTP", "", 0.0),
        ):  # fmt: skip
            self.authority.wrong = [("/new", answer)]
            failed = self.refused(self.order())
            self.assertEqual((str(failed), failed.kind, failed.wait), (f"{URL}/new: {text}", kind, wait))
        self.authority.wrong = [("/directory", Fetched(404, {}, b""))]
        failed = self.refused(self.client.get(DIRECTORY))
        self.assertEqual(str(failed), f"{DIRECTORY}: status 404 of HTTP")

    def test_unread(self) -> None:
        """What cannot be understood is told."""
        failed = self.assertRaises(AcmeFailed, self.client.read, acme.order, Fetched(200, {}, b"{}"))
        self.assertEqual(
            str(failed),
            "the authority has sent an order without authorizations, or with more than 100",
        )

    def test_away(self) -> None:
        """An authority that is away is told of."""
        self.authority.down = True
        failed = self.refused(self.client.directory())
        self.assertEqual(str(failed), "ca.example cannot be reached: Connection refused")
