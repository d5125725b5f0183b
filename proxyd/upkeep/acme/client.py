"""
How is an authority asked for something?

By requests that our account's key signs, each with a number that the authority has given out for one request
(a nonce, RFC 8555, 6.5).  A nonce that it does not take after all costs a try, of which there are some.
Whatever else goes wrong raises `AcmeFailed`, with what the authority says of it, and for how long it wants to
be left alone.
"""

from __future__ import annotations

from typing import Any, Awaitable, Callable, Mapping, Optional

from proxyd.errors import Malformed
from proxyd.upkeep.acme.folder import Account
from proxyd.upkeep.acme.keys import jwk, sign
from proxyd.upkeep.fetch import Fetched, FetchFailed
from proxyd.walltime import WallTime
from proxyd.wire import acme
from proxyd.wire.acme import Directory

# Asks for a URL, with headers and perhaps a body.  Raises `FetchFailed`.
Fetch = Callable[[str, str, Mapping[str, str], Optional[bytes]], Awaitable[Fetched]]

NONCES = 10  # that are tried for one request; Boulder takes nearly all, a farm of servers may forget some

_CONTENT = {"Content-Type": "application/jose+json"}
BAD_NONCE = "badNonce"


class AcmeFailed(Exception):
    """Something could not be had; ``kind`` is the authority's word for why, or empty."""

    def __init__(self, text: str, kind: str = "", wait: float = 0.0) -> None:
        """``wait`` is for how many seconds the authority wants to be left alone; 0 if it does not say."""
        super().__init__(text)
        self.kind = kind
        self.wait = wait


class AcmeClient:
    """Asks the authority whose directory is at a URL, for an account."""

    def __init__(self, fetch: Fetch, wall: WallTime, url: str, account: Account) -> None:
        self.account = account
        self._fetch = fetch
        self._wall = wall
        self._url = url
        self._directory: Optional[Directory] = None
        self._nonce = ""

    @property
    def jwk(self) -> dict[str, str]:
        """The public half of the account's key."""
        return jwk(self.account.key)

    async def directory(self) -> Directory:
        """Where what is asked for."""
        if self._directory is None:
            answer = await self.get(self._url)
            self._directory = self.read(acme.directory, answer)
        return self._directory

    async def get(self, url: str) -> Fetched:
        """What is there for everybody."""
        answer = await self._ask("GET", url)
        if answer.status != 200:
            raise self._refusal(url, answer)
        return answer

    async def see(self, url: str) -> Fetched:
        """What is there for us (POST-as-GET)."""
        return await self.post(url, None)

    async def post(self, url: str, payload: Optional[Mapping[str, Any]], introduce: bool = False) -> Fetched:
        """
        Make a request.

        It is signed in the name of the account, or with ``introduce`` in that of its key, which then may be
        unknown yet.
        """
        for _ in range(NONCES):
            who = {"jwk": self.jwk} if introduce else {"kid": self.account.url}
            protected = {"alg": "ES256", **who, "nonce": await self._take_nonce(), "url": url}
            body = acme.signed(protected, payload, lambda data: sign(self.account.key, data))
            answer = await self._ask("POST", url, body)
            self._nonce = answer.headers.get("replay-nonce", "")
            if answer.status in (200, 201):
                return answer
            refusal = self._refusal(url, answer)
            if refusal.kind != BAD_NONCE:
                raise refusal
        raise AcmeFailed(f"{url}: none of {NONCES} nonces was taken that the authority gave out", BAD_NONCE)

    async def _take_nonce(self) -> str:
        nonce, self._nonce = self._nonce, ""
        if not nonce:
            directory = await self.directory()
            answer = await self._ask("HEAD", directory.new_nonce)
            nonce = answer.headers.get("replay-nonce", "")
            if answer.status not in (200, 204):
                raise self._refusal(directory.new_nonce, answer)
            if not nonce:
                raise AcmeFailed(f"{directory.new_nonce}: the authority gives out no nonce")
        return nonce

    def read(self, parse: Callable[[bytes], Any], answer: Fetched) -> Any:
        """What an answer says."""
        try:
            return parse(answer.body)
        except Malformed as why:
            raise AcmeFailed(f"the authority has sent {why}") from None

    def wait(self, answer: Fetched) -> float:
        """In how many seconds to ask again; 0 if it does not say."""
        return acme.retry_after(answer.headers.get("retry-after", ""), self._wall.now())

    async def _ask(self, method: str, url: str, body: Optional[bytes] = None) -> Fetched:
        try:
            return await self._fetch(method, url, _CONTENT if body is not None else {}, body)
        except FetchFailed as why:
            raise AcmeFailed(str(why)) from None

    def _refusal(self, url: str, answer: Fetched) -> AcmeFailed:
        complaint = acme.complaint(answer.body, answer.status)
        return AcmeFailed(f"{url}: {complaint}", complaint.kind, self.wait(answer))
