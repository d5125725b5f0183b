"""Is a certificate had step by step, gone on with after a crash, and given up with a reason?"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from proxyd.config.acme import TLS_ALPN_01, AcmeSpec, CertificateSpec, ExternalAccount
from proxyd.policy.acme import Answers
from proxyd.upkeep.acme import keys
from proxyd.upkeep.acme.client import AcmeFailed
from proxyd.upkeep.acme.folder import AcmeFolder
from proxyd.upkeep.acme.issuance import AUTHORIZATION_SECONDS, ORDER_SECONDS, Issuance
from tests.support.acme import URL, pem
from tests.upkeep.acme.stage import DAY, NOW, SPEC, WWW, AcmeCase, in_thread

STEPS = [
    "POST /new",
    "POST /authz/0/0",
    "POST /challenge/0/0/http-01",
    "POST /authz/0/1",
    "POST /challenge/0/1/http-01",
    "POST /authz/0/0",
    "POST /authz/0/1",
    "POST /order/0",
    "POST /finalize/0",
    "POST /order/0",
    "POST /certificate/0",
]


class IssuanceTests(AcmeCase):
    def setUp(self) -> None:
        super().setUp()
        self.answers = Answers()
        self.folder = AcmeFolder(self.state, SPEC)
        self.assertEqual(self.folder.prepare(NOW), [])

    def issuance(self, spec: AcmeSpec = SPEC, external_key: bytes = b"") -> Issuance:
        return Issuance(
            self.clock,
            self.wall,
            spec,
            self.folder,
            self.answers,
            self.authority.fetch,
            in_thread,
            external_key,
        )

    def begin(self, spec: AcmeSpec = SPEC, wanted: CertificateSpec = WWW, **how: Any) -> Deferred[Any]:
        """Begin to have it."""
        return Deferred.fromCoroutine(self.issuance(spec, **how).issue(wanted))

    def failed(self, issued: Deferred[Any]) -> str:
        """Why nothing has come of it; whatever it is, nothing is answered any more."""
        failed: Any = self.failureResultOf(issued, AcmeFailed).value
        self.assertEqual(self.given(), 0)
        return str(failed)

    def given(self) -> int:
        """How many challenges are answered."""
        tokens = [f"token-of-http-01-{order}-{place}".encode() for order in range(3) for place in range(2)]
        return sum(self.answers.http(token) is not None for token in tokens) + len(self.answers.certificates)

    def test_whole(self) -> None:
        """Account, order, challenges, finalization, certificate, file; each step once."""
        held = self.successResultOf(self.begin())
        self.assertEqual(self.asked(), ["POST /account", *STEPS])
        self.assertEqual((held.names, held.not_after), (WWW.names, NOW + 90 * DAY))
        self.assertEqual(self.folder.held(WWW), held)
        self.assertIsNone(self.folder.order(WWW))
        [account] = self.authority.accounts.values()
        self.assertEqual(account, {"termsOfServiceAgreed": True, "jwk": account["jwk"]})
        self.assertEqual(self.given(), 0)

    def test_again(self) -> None:
        """The account is there already, and each certificate has a key of its own."""
        first = self.successResultOf(self.begin())
        before = self.authority.orders[0]["certificate"]
        self.asked()
        self.successResultOf(self.begin())
        self.assertEqual(self.asked(), [step.replace("/0", "/1", 1) for step in STEPS])
        self.assertNotEqual(self.authority.orders[1]["certificate"], before)
        self.assertEqual(len(self.authority.accounts), 1)
        self.assertEqual(first.names, WWW.names)

    def test_answers(self) -> None:
        """While the authority looks, each challenge has its answer: the token, and whose key it is."""
        self.authority.looks = 2
        seen: list[tuple[str, bytes]] = []

        def proves(kind: str, token: str, name: str) -> bool:
            seen.append((token, self.answers.http(token.encode()) or b""))
            return True

        self.authority.proves = proves
        issued = self.begin()
        self.assertEqual(self.given(), 2)
        self.assertNoResult(issued)
        self.clock.pump([1.0] * 30)
        self.successResultOf(issued)
        self.assertEqual([token for token, _ in seen], ["token-of-http-01-0-0", "token-of-http-01-0-1"])
        for token, answer in seen:
            self.assertRegex(answer.decode(), rf"^{token}\.[A-Za-z0-9_-]{{43}}$")
        self.assertEqual(self.given(), 0)

    def test_tls(self) -> None:
        """With tls-alpn-01 there is a certificate for each name, for as long as it is looked at."""
        seen = []

        def proves(kind: str, token: str, name: str) -> bool:
            seen.append((kind, name, keys.held(self.answers.certificates[name].decode()).names))
            return True

        self.authority.proves = proves
        self.successResultOf(self.begin(evolve(SPEC, challenge=TLS_ALPN_01)))
        self.assertEqual(seen, [("tls-alpn-01", name, (name,)) for name in WWW.names])
        self.assertEqual(self.given(), 0)

    def test_contact_and_external_account(self) -> None:
        """The authority is told whom to write to, and whose account with it ours is."""
        external = ExternalAccount("kid-1", "/etc/eab.key")
        spec = evolve(SPEC, contact=("mailto:a@b.example",), external_account=external)
        self.authority.meta["externalAccountRequired"] = True
        self.successResultOf(self.begin(spec, external_key=b"secret"))
        [account] = self.authority.accounts.values()
        self.assertEqual(account["contact"], ["mailto:a@b.example"])
        self.assertEqual(set(account["externalAccountBinding"]), {"protected", "payload", "signature"})

    def test_external_account_wanted(self) -> None:
        """Where one is needed and there is none, that is said before anything is asked for."""
        self.authority.meta["externalAccountRequired"] = True
        self.assertEqual(
            self.failed(self.begin()),
            "the authority wants external_account = KID key_file=PATH, an account with it",
        )
        self.assertEqual(self.authority.accounts, {})

    def test_valid_already(self) -> None:
        """A name that the authority knows to be ours is not proved again."""
        self.authority.looks = 2
        issued = self.begin()
        self.authority.orders[0]["authorizations"][1]["status"] = "valid"
        self.clock.pump([1.0] * 30)
        self.successResultOf(issued)

    def test_not_proved(self) -> None:
        """A name that the authority has not found to be ours is told, with why; the order is over."""
        self.authority.proves = lambda kind, token, name: name != "example.org"
        why = "example.org: the authority has not found it to be ours: nobody is there"
        self.assertEqual(self.failed(self.begin()), why)
        self.authority.proves = lambda kind, token, name: True
        self.asked()
        self.successResultOf(self.begin())
        self.assertEqual(self.asked()[:2], ["POST /order/0", "POST /new"])

    def test_not_offered(self) -> None:
        """A challenge that the authority does not offer cannot be answered."""
        self.authority.kinds = ["dns-01"]
        self.assertEqual(
            self.failed(self.begin()), "www.example: the authority does not offer http-01 for it"
        )

    def test_refused_challenge(self) -> None:
        """When the authority does not want to look, nothing is answered any more."""
        self.authority.wrong = [("/0/1/http-01", self.authority.refusal("rateLimited", "not now"))]
        self.assertEqual(self.failed(self.begin()), f"{URL}/challenge/0/1/http-01: rateLimited: not now")

    def test_too_long(self) -> None:
        """No wait is for ever: neither that for a name, nor that for the certificate."""
        for looks, seconds, what in (
            (1000, AUTHORIZATION_SECONDS, "to look at a name"),
            (2, ORDER_SECONDS, "to make the certificate"),
        ):
            self.authority.looks = looks
            issued = self.begin()
            if looks == 2:
                self.clock.pump([1.0] * 3)
                self.authority.orders[-1]["looks"] = 1000
            self.clock.pump([1.0] * int(seconds + 20))
            self.assertEqual(self.failed(issued), f"the authority has taken more than {seconds:g} s {what}")
            self.folder.forget_order(WWW)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_gone_on_with(self) -> None:
        """A process that comes after a killed one goes on with its order, wherever that was."""
        for steps in range(1, len(STEPS)):
            self.folder.forget_order(WWW)
            count = len(self.authority.orders)
            self.stop_after(steps)
            self.begin()
            self.restart()
            self.asked()
            held = self.successResultOf(self.begin())
            if steps >= 1:
                self.assertEqual(len(self.authority.orders), count + 1, steps)
            self.assertEqual(self.folder.held(WWW), held)

    def stop_after(self, steps: int) -> None:
        """Have the authority answer so many requests for an order, and then no more."""
        real = self.authority.fetch
        left = [steps + (0 if self.authority.accounts else 1)]

        async def fetch(method: str, url: str, headers: Any, body: Any) -> Any:
            if method == "POST":
                left[0] -= 1
                if left[0] < 0:
                    await Deferred()
            return await real(method, url, headers, body)

        self.real = real
        self.authority.fetch = fetch  # type: ignore[method-assign]

    def restart(self) -> None:
        self.authority.fetch = self.real  # type: ignore[method-assign]
        self.answers = Answers()

    def test_order_of_old(self) -> None:
        """An order that the authority knows no more is forgotten; if it is busy, the order is not."""
        self.stop_after(1)
        self.begin()
        self.restart()
        self.authority.wrong = [("/order/0", self.authority.refusal("rateLimited", "not now", 429))]
        self.assertEqual(self.failed(self.begin()), f"{URL}/order/0: rateLimited: not now")
        self.assertIsNotNone(self.folder.order(WWW))
        self.authority.wrong = [("/order/0", self.authority.refusal("malformed", "no such order", 404))]
        self.successResultOf(self.begin())
        self.assertEqual(len(self.authority.orders), 2)

    def test_unknown_account(self) -> None:
        """An authority that has forgotten us gets to know us again, with the same key."""
        self.successResultOf(self.begin())
        [before] = self.authority.accounts.values()
        self.authority.accounts.clear()
        self.successResultOf(self.begin())
        [after] = self.authority.accounts.values()
        self.assertEqual(after["jwk"], before["jwk"])

    def test_replaces(self) -> None:
        """The authority is told which one is replaced if it wants to know, and not again if it declines."""
        issue = self.issuance().issue
        self.successResultOf(issue(WWW, "aki.serial"))
        self.authority.window = ("2001-01-01T00:00:00Z", "2001-01-02T00:00:00Z")
        self.successResultOf(issue(WWW, "aki.serial"))
        self.authority.wrong = [("/new", self.authority.refusal("alreadyReplaced", "again?", 409))]
        self.successResultOf(issue(WWW, "aki.serial"))
        self.assertEqual([order["replaces"] for order in self.authority.orders], [None, "aki.serial", None])
        self.authority.wrong = [("/new", self.authority.refusal("rateLimited", "not now", 429))]
        self.assertEqual(
            self.failed(Deferred.fromCoroutine(issue(WWW, "x"))), f"{URL}/new: rateLimited: not now"
        )

    def test_wrong_certificate(self) -> None:
        """A certificate that is not what was asked for is refused, and what there was stays."""
        first = self.successResultOf(self.begin())
        issuer = self.authority.issuer
        stranger = pem(issuer.sign(issuer.name, keys.new_key("ecdsa").public_key()))
        unusable = "the authority has sent a certificate that cannot be used:"
        for text, why in (
            (stranger, "the certificate is for another key"),
            ("\xe4", "'ascii' codec can't decode byte 0xc3 in position 0: ordinal not in range(128)"),
        ):
            place = f"/certificate/{len(self.authority.orders)}"
            self.authority.wrong = [(place, self.authority.answer(200, text))]
            self.assertEqual(self.failed(self.begin()), f"{unusable} {why}")
        self.authority.days = -1
        self.assertEqual(self.failed(self.begin()), f"{unusable} it has run out already; is the clock right?")
        self.assertEqual(self.folder.held(WWW), first)
        self.assertIsNone(self.folder.order(WWW))

    def test_other_names(self) -> None:
        """A certificate that lacks a name is refused."""
        issued = self.begin()
        held = self.successResultOf(issued)
        self.assertEqual(held.names, WWW.names)
        real = self.authority._finalize

        def finalize(rest: str, payload: Any, account: str) -> Any:
            order = self.authority.orders[int(rest)]
            order["names"] = payload["csr"] and order["names"]
            found = real(rest, payload, account)
            key = self.folder.order(WWW)
            assert key is not None
            leaf = self.authority.issuer.sign(self.authority.issuer.name, key.key.public_key())
            order["certificate"] = pem(leaf)
            return found

        self.authority._finalize = finalize  # type: ignore[method-assign]
        self.assertEqual(
            self.failed(self.begin()),
            "the authority has sent a certificate that cannot be used: it is for no name",
        )
