"""
What is said between us and a certificate authority that speaks ACME?

ACME (RFC 8555) is JSON over HTTPS, in which each request is signed (JWS, RFC 7515).  `signed` makes one, with
a function that signs; `directory`, `order`, `authorization` and `complaint` read what comes back and keep of
it what we go by.  `renewal_window` is of RFC 9773, by which an authority says when to renew.

Whatever is not as it must be raises `Malformed`.  A body is as long as the reader of HTTP lets it be.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import hashlib
import hmac
import json
import re
from email.utils import parsedate_tz
from typing import Any, Callable, Mapping, Optional

from attrs import frozen

from proxyd.errors import Malformed

Sign = Callable[[bytes], bytes]

HTTP_01, TLS_ALPN_01 = "http-01", "tls-alpn-01"

WELL_KNOWN = b"/.well-known/acme-challenge/"  # RFC 8555, 8.3
ACME_TLS = b"acme-tls/1"  # RFC 8737, 6.2

PENDING, READY, PROCESSING, VALID, INVALID = "pending", "ready", "processing", "valid", "invalid"

ERRORS = "urn:ietf:params:acme:error:"

MOST_NAMES = 100  # of a certificate; what Let's Encrypt allows
_LONGEST_URL = 2000
_LONGEST_SHOWN = 300  # letters of what an authority complains of
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,256}", re.ASCII)  # RFC 8555, 8.1: base64url, and 128 bits at least
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*={0,2}", re.ASCII)
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_STATUSES = (PENDING, READY, PROCESSING, VALID, INVALID, "deactivated", "expired", "revoked")


@frozen
class Directory:
    """Where an authority is asked for what, and whether it wants an account of its own for that."""

    new_nonce: str
    new_account: str
    new_order: str
    renewal_info: str = ""
    terms: str = ""
    external_account: bool = False


@frozen
class Challenge:
    """One way to prove that a name is ours."""

    kind: str
    url: str
    token: str


@frozen
class Authorization:
    """Whether a name is known to be ours; ``trouble`` says why not."""

    name: str
    status: str
    challenges: tuple[Challenge, ...] = ()
    trouble: str = ""


@frozen
class Order:
    """What has become of a request for a certificate; ``trouble`` says why it gives none."""

    status: str
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str = ""
    trouble: str = ""


@frozen
class Complaint:
    """Why an authority refuses something: ``kind`` is a word of RFC 8555, 6.7, or empty."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}" if self.kind else self.text


def base64url(data: bytes) -> str:
    """The bytes in base64url without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64url(text: str) -> bytes:
    """The bytes that base64url stands for, padded or not.  Raises `Malformed`."""
    bare = text.rstrip("=")
    try:
        if not _BASE64URL.fullmatch(text):
            raise ValueError
        return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except (ValueError, binascii.Error):
        raise Malformed("not base64url") from None


def signed(protected: Mapping[str, Any], payload: Optional[Mapping[str, Any]], sign: Sign) -> bytes:
    """
    A request in JWS, "flattened" as RFC 8555, 6.2 has it.

    Without a payload it only asks to see something (POST-as-GET).
    """
    head = base64url(_json(protected))
    body = base64url(_json(payload)) if payload is not None else ""
    signature = base64url(sign(f"{head}.{body}".encode("ascii")))
    return _json({"protected": head, "payload": body, "signature": signature})


def bound_to(kid: str, key: bytes, url: str, jwk: Mapping[str, str]) -> dict[str, Any]:
    """That who has this key of an account elsewhere agrees to our account (RFC 8555, 7.3.4)."""
    protected = {"alg": "HS256", "kid": kid, "url": url}
    bound: dict[str, Any] = json.loads(
        signed(protected, jwk, lambda data: hmac.new(key, data, hashlib.sha256).digest())
    )
    return bound


def key_authorization(token: str, jwk: Mapping[str, str]) -> str:
    """What is to be found where a challenge is answered: the token, and whose key this is (RFC 7638)."""
    canonical = json.dumps(dict(jwk), sort_keys=True, separators=(",", ":")).encode("ascii")
    return f"{token}.{base64url(hashlib.sha256(canonical).digest())}"


def certificate_id(key_identifier: bytes, serial: int) -> str:
    """What a certificate is called where it is asked when to renew it (RFC 9773, 4.1)."""
    number = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return f"{base64url(key_identifier)}.{base64url(number)}"


def directory(body: bytes) -> Directory:
    """The directory of an authority."""
    found = _object(body)
    meta = found.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    renewal = found.get("renewalInfo")
    return Directory(
        _url(found, "newNonce"),
        _url(found, "newAccount"),
        _url(found, "newOrder"),
        _url(found, "renewalInfo") if renewal else "",
        _shown(meta.get("termsOfService", "")),
        meta.get("externalAccountRequired") is True,
    )


def order(body: bytes) -> Order:
    """An order."""
    found = _object(body)
    urls = found.get("authorizations")
    if not isinstance(urls, list) or not 0 < len(urls) <= MOST_NAMES:
        raise Malformed(f"an order without authorizations, or with more than {MOST_NAMES}")
    return Order(
        _status(found),
        tuple(_checked(url, "authorizations") for url in urls),
        _url(found, "finalize"),
        _url(found, "certificate") if found.get("certificate") else "",
        _trouble(found.get("error")),
    )


def authorization(body: bytes) -> Authorization:
    """An authorization; challenges that are not understood are left out."""
    found = _object(body)
    identifier = found.get("identifier")
    name = identifier.get("value") if isinstance(identifier, dict) else None
    challenges = found.get("challenges")
    if not isinstance(name, str) or not isinstance(challenges, list):
        raise Malformed("an authorization without a name or challenges")
    usual = [one for one in challenges if isinstance(one, dict) and one.get("type") in (HTTP_01, TLS_ALPN_01)]
    known = []
    for one in usual:
        token = one.get("token")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise Malformed(f"a challenge whose token is none: {_shown(token)}")
        known.append(Challenge(one["type"], _url(one, "url"), token))
    troubles = [_trouble(one.get("error")) for one in challenges if isinstance(one, dict)]
    trouble = "; ".join(dict.fromkeys(text for text in troubles if text))
    return Authorization(_shown(name), _status(found), tuple(known), trouble)


def complaint(body: bytes, status: int) -> Complaint:
    """Why a request was refused with this status of HTTP (RFC 7807), as far as that was said."""
    try:
        found = _object(body)
    except Malformed:
        found = {}
    kind = found.get("type")
    kind = kind[len(ERRORS) :] if isinstance(kind, str) and kind.startswith(ERRORS) else ""
    return Complaint(_shown(kind), _trouble(found) or f"status {status} of HTTP")


def renewal_window(body: bytes) -> tuple[float, float]:
    """From when to when a certificate should be renewed, in seconds since 1970 (RFC 9773, 4.2)."""
    window = _object(body).get("suggestedWindow")
    if not isinstance(window, dict):
        raise Malformed("no suggestedWindow")
    start, end = _time(window.get("start")), _time(window.get("end"))
    if end < start:
        raise Malformed("a suggestedWindow that ends before it begins")
    return start, end


def retry_after(text: str, wall: float) -> float:
    """In how many seconds to ask again, by a Retry-After (RFC 9110, 10.2.3); 0 if it says nothing."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = parsedate_tz(text)
        return max(0.0, calendar.timegm(when[:6] + (0, 0, 0)) - wall) if when is not None else 0.0
    except (ValueError, OverflowError, IndexError, TypeError):
        return 0.0


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise Malformed("an answer that is not JSON") from None
    if not isinstance(found, dict):
        raise Malformed("an answer that is no object of JSON")
    return found


def _url(found: Mapping[str, Any], name: str) -> str:
    return _checked(found.get(name), name)


def _checked(url: Any, name: str) -> str:
    """A URL of the authority's; all are https (RFC 8555, 6.1)."""
    if not isinstance(url, str) or not url.startswith("https://") or len(url) > _LONGEST_URL:
        raise Malformed(f"{name}, which is no https URL: {_shown(url)}")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise Malformed(f"{name}, which has letters that no URL has: {_shown(url)}")
    return url


def _status(found: Mapping[str, Any]) -> str:
    status = found.get("status")
    if status not in _STATUSES:
        raise Malformed(f"a status that nobody knows: {_shown(status)}")
    return str(status)


def _trouble(error: Any) -> str:
    """What a problem document says, and those within it; empty if it says nothing."""
    if not isinstance(error, dict):
        return ""
    texts = [error.get("detail") or error.get("title") or error.get("type")]
    parts = error.get("subproblems")
    for part in parts[:MOST_NAMES] if isinstance(parts, list) else ():
        if isinstance(part, dict):
            identifier = part.get("identifier")
            name = identifier.get("value", "") if isinstance(identifier, dict) else ""
            texts.append(f"{name}: {part.get('detail')}" if name else part.get("detail"))
    return _shown("; ".join(text for text in texts if isinstance(text, str)))


def _time(text: Any) -> float:
    """A time of RFC 3339."""
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise Malformed(f"a time that is none: {_shown(text)}")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    try:
        seconds = calendar.timegm((year, month, day, hour, minute, second, 0, 0, 0))
    except ValueError:
        raise Malformed(f"a time that is none: {_shown(text)}") from None
    offset = 60 * (60 * int(found[8]) + int(found[9])) if found[7] else 0
    return float(seconds + offset if found[7] == "-" else seconds - offset)


def _shown(text: Any) -> str:
    """What an authority has said, as a log can have it: on one line, and not too long."""
    shown = text if isinstance(text, str) else repr(text)
    shown = "".join(letter if letter.isprintable() else " " for letter in shown[:_LONGEST_SHOWN])
    return " ".join(shown.split())
