"""Which certificates are to be had from an authority, and how?  The ``[acme NAME]`` section."""

from __future__ import annotations

import os
import re
from typing import Any, ClassVar, Collection, Iterator, Mapping, Optional, Sequence
from urllib.parse import urlsplit

from attrs import frozen

from proxyd.config.address import Bind, File, is_host_name
from proxyd.config.bind import Binds
from proxyd.config.options import Choice, Fail, Form, OneWord, Option, Several, YesNo, parameters
from proxyd.config.reader import Word
from proxyd.config.servertls import VERSIONS
from proxyd.config.tls import TlsSpec
from proxyd.config.words import Invalid, quoted

HTTP_01, TLS_ALPN_01 = "http-01", "tls-alpn-01"
ECDSA, RSA = "ecdsa", "rsa"

FOLDER = "acme"  # in the state folder

MOST_NAMES = 100  # of a certificate; what Let's Encrypt allows
_MAIL = re.compile(r"mailto:[!-~]+@[!-~]+", re.ASCII)


@frozen
class CertificateSpec:
    """One ``certificate NAME = www.example.com example.com key=rsa``: for which names, with which key."""

    name: str
    names: tuple[str, ...]
    key: str = ECDSA


@frozen
class ExternalAccount:
    """An account that one has with the authority already: how it is called, and the file with its key."""

    kid: str
    key_file: str


@frozen
class AcmeSpec:
    """One ``[acme NAME]``: an authority, our account there, and the certificates that we want of it."""

    name: str
    directory: str
    certificates: tuple[CertificateSpec, ...]
    contact: tuple[str, ...] = ()
    challenge: str = HTTP_01
    binds: tuple[Bind, ...] = ()
    ca: str = ""
    external_account: Optional[ExternalAccount] = None


@frozen
class DirectoryUrl(OneWord):
    """The URL of a directory."""

    shape: ClassVar[str] = "an https URL"

    def read(self, word: Word) -> str:
        try:
            parts = urlsplit(word.text)
            right = parts.scheme == "https" and parts.hostname and parts.port != 0 and parts.username is None
        except ValueError:
            right = False
        if not right or not word.text.isascii() or not word.text.isprintable() or parts.fragment:
            raise Invalid(
                f"{quoted(word.text)} is not an https URL; "
                "write https://acme-v02.api.letsencrypt.org/directory, for example"
            )
        return word.text


@frozen
class Contact(OneWord):
    """Where the authority may write to."""

    shape: ClassVar[str] = "`mailto:` and an address"

    def read(self, word: Word) -> str:
        if not _MAIL.fullmatch(word.text):
            raise Invalid(f"{quoted(word.text)} is no contact; write mailto:admin@example.com, for example")
        return word.text


@frozen
class Certificate(Form):
    """``NAME ... key=rsa``, without the name of the certificate."""

    shape: ClassVar[str] = "the names of hosts that it is for, then the parameter below"
    parameters: ClassVar[tuple[Option, ...]] = (
        Option(
            "key",
            Choice((ECDSA, RSA)),
            "Which key it has: ECDSA with P-256, or RSA with 2048 bits. For clients that know only RSA, "
            "have a certificate of each.",
            "key=rsa",
            default=ECDSA,
        ),
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[CertificateSpec]:
        count = next((place for place, word in enumerate(words) if "=" in word.text), len(words))
        values = parameters(words[count:], self.parameters, fail)
        found: dict[str, None] = {}
        for word in words[:count]:
            try:
                name = _name(word)
            except Invalid as why:
                fail(word.line, str(why))
                continue
            if name in found:
                fail(word.line, f"{quoted(word.text)} is given twice")
            found[name] = None
        if not count:
            fail(words[0].line, "begins with the name of a host, such as www.example.com")
        if count > MOST_NAMES:
            fail(words[MOST_NAMES].line, f"takes {MOST_NAMES} names at most")
        return CertificateSpec("", tuple(found), **values) if values is not None else None


def _name(word: Word) -> str:
    """The name of a host as authorities have it, in small letters.  Raises `Invalid`."""
    text = word.text.lower()
    if text.startswith("*."):
        raise Invalid(
            f"{quoted(word.text)}: for a wildcard the authority must look into DNS (dns-01), "
            "which proxyd does not do; name the hosts"
        )
    if not text.isascii():
        raise Invalid(f"{quoted(word.text)} is not ASCII; write the name as DNS has it, xn--...")
    if not is_host_name(text) or "_" in text or text.endswith(".") or "." not in text:
        raise Invalid(f"{quoted(word.text)} is not the full name of a host, such as www.example.com")
    if text.rpartition(".")[2].isdigit():
        raise Invalid(f"{quoted(word.text)} is an address; certificates are for names")
    return text


@frozen
class External(Form):
    """``KID key_file=PATH``."""

    shape: ClassVar[str] = "how the authority calls the account (its key identifier), and the parameter below"
    parameters: ClassVar[tuple[Option, ...]] = (
        Option(
            "key_file",
            File(),
            "The file with the account's key (its HMAC key), in base64url as the authority gives it out.",
            "key_file=/etc/proxyd/eab.key",
            otherwise="must be given",
        ),
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[ExternalAccount]:
        first, *rest = words
        values = parameters(rest, self.parameters, fail)
        if first.text.startswith("key_file="):
            fail(first.line, "begins with the key identifier of the account")
            return None
        if values is None:
            return None
        if "key_file" not in values:
            fail(first.line, "key_file is missing; write key_file=/etc/proxyd/eab.key, for example")
            return None
        return ExternalAccount(first.text, **values)


def certificates_folder(state: str, name: str) -> str:
    """Where the certificates of an authority are."""
    return os.path.join(state, FOLDER, name, "certificates")


def missing(
    kept: bool, given: Mapping[str, Any], entries: Collection[str], users: Sequence[TlsSpec]
) -> Iterator[tuple[str, str]]:
    """
    What certificates of an authority need: each an option, or "", and what is wrong.

    ``given`` are the values of its section, ``entries`` what is written in it; ``kept`` is whether there is a
    state folder, ``users`` how listeners end TLS that have its certificates.
    """
    if not kept:
        yield "", "needs a folder for keys and certificates; write state = /var/lib/proxyd in [proxyd]"
    challenge = given.get("challenge", "" if "challenge" in entries else HTTP_01)
    if challenge == HTTP_01 and "bind" not in entries:
        yield "bind", f"is missing: {HTTP_01} is answered on port 80; write bind = tcp:80, for example"
    if challenge == TLS_ALPN_01 and not any(spec.maximum == VERSIONS[-1] for spec in users):
        yield (
            "challenge",
            "needs a listener where TLS (1.3) ends with these certificates; write tls = acme:NAME there",
        )


OPTIONS = (
    Option(
        "directory",
        DirectoryUrl(),
        "Where the authority is, by the URL of its ACME directory (RFC 8555). Until all is well, use a "
        "directory for tests such as https://acme-staging-v02.api.letsencrypt.org/directory: who fails "
        "often is kept waiting for hours.",
        "directory = https://acme-v02.api.letsencrypt.org/directory",
        required=True,
    ),
    Option(
        "certificate",
        Certificate(),
        "A certificate that is wanted, for these names, all of which must lead to this proxy. It is "
        "renewed after two thirds of its life, or when the authority says so (RFC 9773); the one before "
        "serves until then, and longer if that fails. Until there is one, a placeholder serves that nobody "
        "trusts.",
        "certificate www = www.example.com example.com",
        required=True,
        named=True,
    ),
    Option(
        "agree_to_terms",
        YesNo(),
        "You agree to the terms of service of the authority. Without that it gives out nothing.",
        "agree_to_terms = yes",
        required=True,
    ),
    Option(
        "contact",
        Several(Contact()),
        "Where the authority may write to, for example if it revokes certificates. It is told so when our "
        "account is made.",
        "contact = mailto:admin@example.com",
        otherwise="the authority knows nobody to write to",
    ),
    Option(
        "challenge",
        Choice((HTTP_01, TLS_ALPN_01)),
        "How the authority sees that the names are ours. `http-01`: it makes a request to port 80 of each "
        "name, which must reach `bind`. `tls-alpn-01`: it begins TLS (1.3) on port 443 of each name, which "
        "must reach a listener that ends TLS with these certificates.",
        "challenge = tls-alpn-01",
        default=HTTP_01,
    ),
    Option(
        "bind",
        Binds(),
        "Answer `http-01` here. All other requests are redirected to https on the same host.",
        "bind = tcp:80",
        otherwise="needed for `http-01`, and of no use for `tls-alpn-01`",
    ),
    Option(
        "ca",
        File(),
        "A file of certificates (PEM): the authority's own server is trusted by these, and not by those of "
        "the system. For an authority within a company.",
        "ca = /etc/proxyd/company-ca.pem",
        otherwise="those that the system trusts",
    ),
    Option(
        "external_account",
        External(),
        "The account that one has with the authority already, for authorities that ask for one "
        "(external account binding).",
        "external_account = kid-1 key_file=/etc/proxyd/eab.key",
        otherwise="none",
    ),
)


def contradictions(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Which values of a section do not go together: the option, and what is wrong with it."""
    if given.get("agree_to_terms") is False:
        yield "agree_to_terms", "the authority gives certificates only to those who agree; write yes"
    if given.get("challenge") == TLS_ALPN_01 and "bind" in given:
        yield "bind", f"is for {HTTP_01}; with {TLS_ALPN_01} the listeners that end TLS are asked"
