"""
What did the operator ask of TLS that ends here?  The ``tls =`` of a listener, and its parameters.

It says where the certificates are and how clients are spoken with.  The words are HAProxy's and nginx's where
these have any.  What only OpenSSL can judge, such as the names of ciphers, is judged when the daemon starts.
"""

from __future__ import annotations

from typing import Any, ClassVar, Iterator, Mapping, Optional, Sequence, Union

from attrs import frozen

from proxyd.config.address import File
from proxyd.config.options import Choice, Fail, Form, OneWord, Option, Text, YesNo, parameters, unknown
from proxyd.config.reader import Word
from proxyd.config.route import ServerName
from proxyd.config.servertls import VERSIONS, Protocols
from proxyd.config.words import Invalid, quoted

PASSTHROUGH = "passthrough"
OPTIONAL, REQUIRED = "optional", "required"
ACME = "acme:"  # before the name of an authority
OFF, FILE, FETCH = "off", "file", "fetch"
CURVES = ("P-256", "P-384", "P-521")

# Mozilla's "intermediate" without its DHE ciphers, which are slow, and which no client needs that has any of
# the others (wiki.mozilla.org/Security/Server_Side_TLS, version 5.7).
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
CIPHERSUITES = (  # RFC 8446 B.4, all that there are
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_CCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
)


@frozen(cache_hash=True)
class NamedFiles:
    """The files of one certificate, each by its path; ``chain`` is of those who have issued it."""

    key: str
    certificate: str
    chain: str = ""


@frozen(cache_hash=True)
class TlsSpec:
    """
    How TLS is ended.

    ``certificates`` are files and folders, or ``named`` has the files of the only one.  ``acme`` are the
    authorities of which some are, whose folders are among these.  ``default`` is the
    name whose certificate is for clients that ask for none, or for one that there is not.  What is empty is
    as OpenSSL has it.  ``client`` says whether clients need a certificate of theirs: "", optional or
    required.
    """

    certificates: tuple[str, ...] = ()
    acme: tuple[str, ...] = ()
    named: Optional[NamedFiles] = None
    default: str = ""
    strict_sni: bool = False
    serve_expired: bool = False
    minimum: str = "1.2"
    maximum: str = "1.3"
    ciphers: str = CIPHERS
    ciphersuites: str = ""
    curves: str = ""
    dhparam: str = ""
    alpn: tuple[bytes, ...] = ()
    tickets: bool = True
    client: str = ""
    client_ca: str = ""
    client_crl: str = ""
    ocsp: str = FILE


@frozen
class _DefaultName(ServerName):
    """The name of one host, as clients give it in SNI."""

    shape: ClassVar[str] = "a name of a certificate"

    def read(self, word: Word) -> str:
        if "*" in word.text:
            raise Invalid(f"{quoted(word.text)}: of a wildcard, write one of the names that it is for")
        return super().read(word)


class _Version(OneWord):
    """A version of TLS."""

    shape: ClassVar[str] = "`1.2` or `1.3`"

    def read(self, word: Word) -> str:
        if word.text not in VERSIONS:
            raise Invalid(f"{quoted(word.text)} is no version of TLS that is spoken here; write 1.2 or 1.3")
        return word.text


@frozen
class _Suites(OneWord):
    """Cipher suites of TLS 1.3, with colons between them."""

    shape: ClassVar[str] = "cipher suites of TLS 1.3, with colons between them"

    def read(self, word: Word) -> str:
        for name in word.text.split(":"):
            if name not in CIPHERSUITES:
                raise Invalid(unknown(name, CIPHERSUITES))
        return word.text


PARAMETERS = (
    Option(
        "default",
        _DefaultName(),
        "Clients that ask for no name, or for one that no certificate has, get the certificate of this one.",
        "default=www.example.com",
        otherwise="the first certificate: of a folder, the first by the names of its files",
    ),
    Option(
        "strict_sni",
        YesNo(),
        "With `yes` clients that ask for no name, or for one that no certificate has, are refused.",
        "strict_sni=yes",
        default="no",
    ),
    Option(
        "serve_expired",
        YesNo(),
        "The daemon does not start with a certificate that has expired and that no other can stand in for; "
        "with `yes` it does. One that expires while the daemon runs is served on in any case.",
        "serve_expired=yes",
        default="no",
    ),
    Option("minimum", _Version(), "No TLS before this version.", "minimum=1.3", default="1.2"),
    Option("maximum", _Version(), "No TLS after this version.", "maximum=1.2", default="1.3"),
    Option(
        "ciphers",
        Text(),
        "Ciphers of TLS 1.2, in our order of preference, as OpenSSL writes them.",
        "ciphers=ECDHE+AESGCM",
        otherwise="those with forward secrecy and AES-GCM or ChaCha20, as Mozilla advises",
    ),
    Option(
        "ciphersuites",
        _Suites(),
        "Cipher suites of TLS 1.3, in our order of preference.",
        "ciphersuites=TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384",
        otherwise="those of OpenSSL",
    ),
    Option(
        "curves",
        Choice(CURVES),
        "Keys are exchanged on this curve alone (pyOpenSSL can choose one or leave the choice to OpenSSL).",
        "curves=P-384",
        otherwise="those of OpenSSL, among them X25519, and X25519MLKEM768 since OpenSSL 3.5",
    ),
    Option(
        "dhparam",
        File(),
        "The parameters of Diffie-Hellman, in PEM, for `ciphers` with DHE.",
        "dhparam=/etc/proxyd/dh4096.pem",
        otherwise="no DHE",
    ),
    Option(
        "alpn",
        Protocols(),
        "What servers speak within TLS, in our order of preference. A client that offers other protocols "
        "alone is refused with TLS's own alert (RFC 7301 3.2).",
        "alpn=h2,http/1.1",
        otherwise="`h2,http/1.1` with `protocol = http`; else nothing is agreed upon",
    ),
    Option(
        "tickets",
        YesNo(),
        "Clients resume sessions by tickets. With `no` they resume by an id, and the sessions are kept in "
        "memory, at most 20,000. Where clients come with certificates (`client`), none are resumed.",
        "tickets=no",
        default="yes",
    ),
    Option(
        "client",
        Choice((OPTIONAL, REQUIRED)),
        "Clients may or must have a certificate that leads to one in `client_ca`. One with another is "
        "refused.",
        "client=required",
        otherwise="none is asked for",
    ),
    Option(
        "client_ca",
        File(),
        "The authorities that clients' certificates must lead to, in PEM.",
        "client_ca=/etc/proxyd/clients.pem",
        otherwise="must be given with `client`",
    ),
    Option(
        "client_crl",
        File(),
        "Lists of certificates that are revoked, in PEM: one of each authority that a client's certificate "
        "leads over.",
        "client_crl=/etc/proxyd/revoked.pem",
        otherwise="no certificate is revoked",
    ),
    Option(
        "ocsp",
        Choice((OFF, FILE, FETCH)),
        "Whether clients are told that a certificate is not revoked (stapling). `file`: by the file "
        "`NAME.ocsp` beside the certificate, if there is one. `fetch`: by asking the responder that the "
        "certificate names, now and then; what it says is kept in the folder `state` of `[proxyd]`, if there "
        "is one.",
        "ocsp=off",
        default=FILE,
    ),
)


class Tls(Form):
    """``passthrough``, or files and folders with certificates, and how TLS is ended with them."""

    shape: ClassVar[str] = (
        "`passthrough`; or files and folders with certificates, each a path with a `/` in it, and "
        "`acme:NAME` for those of an `[acme NAME]`, then any of the parameters below"
    )
    parameters: ClassVar[tuple[Option, ...]] = PARAMETERS

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[Union[str, TlsSpec]]:
        if words[0].text == PASSTHROUGH:
            for word in words[1:]:
                fail(word.line, f"passthrough takes nothing with it, and {quoted(word.text)} is more")
                return None
            return PASSTHROUGH
        paths = [word for word in words if _is_path(word.text)]
        authorities = [word for word in words if word.text.startswith(ACME)]
        rest = [word for word in words if word not in paths and word not in authorities]
        if not paths and not authorities:
            fail(words[0].line, _no_path(words[0].text))
            return None
        strange = [word for word in rest if "=" not in word.text]
        for word in strange:
            fail(word.line, _no_path(word.text))
        given = parameters([word for word in rest if word not in strange], PARAMETERS, fail)
        if given is None or strange:
            return None
        wrong = list(contradictions(given))
        for why in wrong:
            fail(words[0].line, why)
        certificates = tuple(dict.fromkeys(File().read(word) for word in paths))
        acme = tuple(dict.fromkeys(word.text[len(ACME) :] for word in authorities))
        return TlsSpec(certificates, acme=acme, **given) if not wrong else None


def contradictions(given: Mapping[str, Any]) -> Iterator[str]:
    """What does not go together in the parameters of TLS."""
    minimum, maximum = given.get("minimum", VERSIONS[0]), given.get("maximum", VERSIONS[-1])
    if VERSIONS.index(minimum) > VERSIONS.index(maximum):
        yield f"minimum={minimum} and maximum={maximum} leave no version"
    elif minimum == VERSIONS[1]:
        for name in ("ciphers", "dhparam"):
            if name in given:
                yield f"{name} is for TLS 1.2, which minimum={minimum} does not let in"
    elif maximum == VERSIONS[0] and "ciphersuites" in given:
        yield f"ciphersuites is for TLS 1.3, which maximum={maximum} does not let in"
    if "client" in given and "client_ca" not in given:
        yield f"client={given['client']} needs client_ca=FILE, with the authorities that clients come with"
    for name in ("client_ca", "client_crl"):
        if name in given and "client" not in given:
            yield f"{name} is of no effect without client=required or client=optional"
    if given.get("strict_sni") and "default" in given:
        yield "default is for those whom strict_sni=yes refuses"


def _is_path(text: str) -> bool:
    return "/" in text and ("=" not in text or text.index("/") < text.index("="))


def _no_path(text: str) -> str:
    said = f"{quoted(text)} is neither passthrough nor the path of certificates"
    return f"{said}; write tls = /etc/proxyd/certs, or ./{text} for what is beside this file"
