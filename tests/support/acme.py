"""
Which certificate authorities do the tests have?

`Authority` is one in memory, for the tests of what asks it: it judges signatures and nonces as pebble does,
and does wrong what a test wants.  `Pebble` is the real one, which looks at names by DNS and by connections.
"""

from __future__ import annotations

import base64
import datetime
import json
import socket
from typing import Any, Callable, Mapping, Optional

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import NameOID
from twisted.internet.protocol import Protocol
from twisted.protocols.portforward import ProxyFactory

from proxyd.upkeep.fetch import Fetched, FetchFailed
from tests.support.certificate import key_and_certificate
from tests.support.services import Dnsmasq
from tests.support.stage import Child, Place, Stage, program

URL = "https://ca.example"
DIRECTORY = f"{URL}/directory"
DAYS = 90
PROBLEM = "urn:ietf:params:acme:error:"


def unpacked(text: str) -> bytes:
    """The bytes of base64url."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Issuer:
    """A key and a certificate of its own that sign others."""

    def __init__(self, name: str = "an authority", seconds: Callable[[], float] = lambda: 1e9) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._seconds = seconds
        self.certificate = self.sign(self.name, self.key.public_key(), days=3650, ca=True)

    def sign(
        self,
        subject: x509.Name,
        key: Any,
        *extensions: x509.ExtensionType,
        days: float = DAYS,
        ca: bool = False,
    ) -> x509.Certificate:
        """A certificate that is good from now on, or was until so many days ago."""
        now = datetime.datetime.fromtimestamp(self._seconds(), datetime.timezone.utc)
        end = now + datetime.timedelta(days=days)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now if days > 0 else end - datetime.timedelta(days=1))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())


def pem(*certificates: x509.Certificate) -> str:
    """Certificates in PEM."""
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


class Authority:
    """
    An authority in memory, to be asked by `fetch`.

    A name becomes valid when ``proves`` says so of the challenge and its name; ``wrong`` are answers, by the
    end of the URL, that are given instead of the right ones, each once.
    """

    def __init__(self, seconds: Callable[[], float] = lambda: 1e9) -> None:
        self.issuer = Issuer(seconds=seconds)
        self.wrong: list[tuple[str, Fetched]] = []
        self.proves: Callable[[str, str, str], bool] = lambda kind, token, name: True
        self.asked: list[str] = []
        self.accounts: dict[str, dict[str, Any]] = {}
        self.orders: list[dict[str, Any]] = []
        self.days = float(DAYS)
        self.down = False
        self.kinds = ["http-01", "tls-alpn-01", "dns-01"]
        self.window: Optional[tuple[str, str]] = None
        self.meta: dict[str, Any] = {"termsOfService": f"{URL}/terms"}
        self.looks = 1  # until something that is under way has come to its end
        self._nonces: set[str] = set()
        self._count = 0

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: Optional[bytes]
    ) -> Fetched:
        """Ask it."""
        path = url[len(URL) :]
        self.asked.append(f"{method} {path}")
        if self.down:
            raise FetchFailed("ca.example cannot be reached: Connection refused")
        payload, account = self._judged(url, json.loads(body)) if body is not None else (None, "")
        if isinstance(payload, Fetched):
            return payload
        for one in self.wrong:
            if path.endswith(one[0]):
                self.wrong.remove(one)
                return one[1]
        kind, _, rest = path[1:].partition("/")
        answer: Fetched = getattr(self, f"_{kind}")(rest, payload, account)
        return answer

    def answer(self, status: int, content: Any, **headers: str) -> Fetched:
        """An answer with a new nonce."""
        self._count += 1
        nonce = f"nonce-{self._count}"
        self._nonces.add(nonce)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        return Fetched(status, {"replay-nonce": nonce, **named}, data)

    def refusal(self, kind: str, detail: str, status: int = 403, **headers: str) -> Fetched:
        """A refusal."""
        return self.answer(status, {"type": PROBLEM + kind, "detail": detail}, **headers)

    def _judged(self, url: str, jws: Mapping[str, str]) -> tuple[Any, str]:
        protected = json.loads(unpacked(jws["protected"]))
        assert (protected["alg"], protected["url"]) == ("ES256", url), protected
        assert ("jwk" in protected) == url.endswith("/account"), protected
        if protected["nonce"] not in self._nonces:
            return self.refusal("badNonce", "never heard of it", 400), ""
        self._nonces.remove(protected["nonce"])
        account = protected.get("kid", "")
        if "jwk" not in protected and account not in self.accounts:
            return self.refusal("accountDoesNotExist", "who is that?", 400), ""
        key = protected["jwk"] if "jwk" in protected else self.accounts[account]["jwk"]
        x, y = (int.from_bytes(unpacked(key[name]), "big") for name in ("x", "y"))
        raw = unpacked(jws["signature"])
        signature = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        public.verify(signature, f"{jws['protected']}.{jws['payload']}".encode(), ec.ECDSA(hashes.SHA256()))
        payload: Any = json.loads(unpacked(jws["payload"])) if jws["payload"] else None
        if "jwk" in protected:
            payload["jwk"] = protected["jwk"]
        return payload, account

    def _directory(self, rest: str, payload: Any, account: str) -> Fetched:
        urls = {"newNonce": "nonce", "newAccount": "account", "newOrder": "new"}
        found: dict[str, Any] = {name: f"{URL}/{path}" for name, path in urls.items()}
        if self.window is not None:
            found["renewalInfo"] = f"{URL}/window"
        return self.answer(200, {**found, "meta": self.meta})

    def _nonce(self, rest: str, payload: Any, account: str) -> Fetched:
        return self.answer(200, "")

    def _account(self, rest: str, payload: Any, account: str) -> Fetched:
        for url, known in self.accounts.items():
            if known["jwk"] == payload["jwk"]:
                return self.answer(200, {"status": "valid"}, location=url)
        url = f"{URL}/account/{len(self.accounts) + 1}"
        self.accounts[url] = payload
        return self.answer(201, {"status": "valid"}, location=url)

    def _new(self, rest: str, payload: Any, account: str) -> Fetched:
        number = len(self.orders)
        names = [one["value"] for one in payload["identifiers"]]
        authorizations = [{"name": name, "status": "pending", "looks": self.looks} for name in names]
        order = {
            "status": "pending", "names": names, "authorizations": authorizations, "looks": self.looks,
            "replaces": payload.get("replaces"), "certificate": "",
        }  # fmt: skip
        self.orders.append(order)
        return self.answer(201, self._shown(number), location=f"{URL}/order/{number}")

    def _shown(self, number: int) -> dict[str, Any]:
        order = self.orders[number]
        shown = {
            "status": order["status"],
            "authorizations": [f"{URL}/authz/{number}/{place}" for place in range(len(order["names"]))],
            "finalize": f"{URL}/finalize/{number}",
            "identifiers": [],
        }
        if order["status"] == "valid":
            shown["certificate"] = f"{URL}/certificate/{number}"
        return shown

    def _order(self, rest: str, payload: Any, account: str) -> Fetched:
        order = self.orders[int(rest)]
        states = [one["status"] for one in order["authorizations"]]
        if order["status"] == "pending" and set(states) == {"valid"}:
            order["status"] = "ready"
        elif "invalid" in states:
            order["status"] = "invalid"
        elif order["status"] == "processing":
            order["looks"] -= 1
            order["status"] = "processing" if order["looks"] > 0 else "valid"
        return self.answer(200, self._shown(int(rest)), retry_after="3")

    def _authz(self, rest: str, payload: Any, account: str) -> Fetched:
        number, place = map(int, rest.split("/"))
        one = self.orders[number]["authorizations"][place]
        error = {}
        if one["status"] == "processing":
            one["looks"] -= 1
            if one["looks"] <= 0:
                one["status"] = "valid" if self.proves(*one["proved"]) else "invalid"
        if one["status"] == "invalid":
            error = {"error": {"type": PROBLEM + "connection", "detail": "nobody is there"}}
        challenges = [
            {
                "type": kind,
                "url": f"{URL}/challenge/{rest}/{kind}",
                "token": f"token-of-{kind}-{number}-{place}",
            }
            for kind in self.kinds
        ]
        status = "pending" if one["status"] == "processing" else one["status"]
        shown = [{**challenge, **error} for challenge in challenges]
        identifier = {"type": "dns", "value": one["name"]}
        return self.answer(200, {"status": status, "identifier": identifier, "challenges": shown})

    def _challenge(self, rest: str, payload: Any, account: str) -> Fetched:
        number, place, kind = rest.split("/")
        one = self.orders[int(number)]["authorizations"][int(place)]
        one["status"] = "processing"
        one["proved"] = (kind, f"token-of-{kind}-{number}-{place}", one["name"])
        return self.answer(200, {})

    def _finalize(self, rest: str, payload: Any, account: str) -> Fetched:
        order = self.orders[int(rest)]
        request = x509.load_der_x509_csr(unpacked(payload["csr"]))
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == order["names"], names
        leaf = self.issuer.sign(x509.Name([]), request.public_key(), names, days=self.days)
        order["certificate"] = pem(leaf, self.issuer.certificate)
        order["status"] = "processing"
        return self.answer(200, self._shown(int(rest)))

    def _certificate(self, rest: str, payload: Any, account: str) -> Fetched:
        return self.answer(200, self.orders[int(rest)]["certificate"])

    def _window(self, rest: str, payload: Any, account: str) -> Fetched:
        assert self.window is not None
        start, end = self.window
        return self.answer(200, {"suggestedWindow": {"start": start, "end": end}}, retry_after="21600")


class Door(ProxyFactory):
    """
    A way to a place, which lets through so many connections; who comes then is left waiting.

    An authority is asked in a connection for each request.
    """

    noisy = False

    def __init__(self, place: Place, most: int) -> None:
        super().__init__(place.host, place.port)
        self._left = most

    def buildProtocol(self, addr: Any) -> Any:
        self._left -= 1
        return super().buildProtocol(addr) if self._left >= 0 else Protocol()


class Pebble:
    """
    Pebble, and dnsmasq for the names that it looks at, which lead to the address of this process.

    ``http`` and ``tls`` are where it looks at names, whatever they are.
    """

    def __init__(self, stage: Stage) -> None:
        self.place = stage.tcp()
        self.http = stage.tcp()
        self.tls = stage.tcp()
        self.address = self.http.host
        self.dns = Dnsmasq(stage)
        self.config: dict[str, Any] = {}
        self.child: Optional[Child] = None
        self._stage = stage
        self._folder = stage.subfolder("pebble")
        self.ca = self._folder / "pebble.pem"
        self.ca.write_bytes(key_and_certificate(self.place.host))

    @property
    def directory(self) -> str:
        """The URL of its directory."""
        return f"https://{self.place}/dir"

    async def start(self, *names: str, **environment: str) -> None:
        """Start it; these names below ``example`` lead to ``address``."""
        self.dns.hosts = {f"{name}.example": (self.address,) for name in names}
        await self.dns.start()
        (self._folder / "config.json").write_text(
            json.dumps(
                {
                    "pebble": {
                        "listenAddress": str(self.place),
                        "managementListenAddress": "",
                        "certificate": str(self.ca),
                        "privateKey": str(self.ca),
                        "httpPort": self.http.port,
                        "tlsPort": self.tls.port,
                        **self.config,
                    }
                }
            )
        )
        self.child = self._stage.spawn(
            program("pebble", "pebble"), "-config", self._folder / "config.json",
            "-dnsserver", str(self.dns.place), "-strict",
            environment={"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_VA_ALWAYS_VALID": "0", **environment},
        )  # fmt: skip
        await self.child.says(rb"ACME directory available at")
        await self._stage.until(self._listens, "pebble to listen")  # it says so a moment before

    def _listens(self) -> bool:
        with socket.socket() as skt:
            return skt.connect_ex((self.place.host, self.place.port)) == 0
