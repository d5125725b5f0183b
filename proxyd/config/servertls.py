"""What did the operator ask of TLS towards servers?  The ``tls =`` of a pool and of its servers."""

from __future__ import annotations

import ipaddress
from typing import Any, ClassVar, Iterator, Mapping, Optional, Sequence

from attrs import evolve, field, frozen

from proxyd.config import starttls
from proxyd.config.address import Address, File, UnixAddress, ip_address, is_host_name
from proxyd.config.options import Choice, Fail, Form, OneWord, Option, Text, YesNo, parameters, unknown
from proxyd.config.reader import Word
from proxyd.config.route import Protocol
from proxyd.config.words import Invalid, quoted

SYSTEM = "system"  # `ca = system`
CLIENT, NO_SNI = "client", "no"  # `sni = client`, `sni = no`

VERSIONS = ("1.2", "1.3")  # RFC 8996 forbids all before


@frozen(cache_hash=True)
class ServerTlsSpec:
    """
    What TLS towards a server is to be.

    ``name`` is what its certificate must be for if that is not the host of its address: a name or an IP
    address.  ``sni`` is the name that is asked for: empty for the same, else a name, `CLIENT` for the one
    that the client asks for, or `NO_SNI`.  ``ca`` is a file of authorities, or empty for those of the system;
    ``certificate`` and ``key`` are what we show of ourselves, empty if nothing.  ``starttls`` is the protocol
    in the way of which TLS begins, empty if with the first byte.  ``path`` and ``line`` are where it is
    written; specs that differ in these alone are the same.
    """

    verify: bool = True
    name: str = ""
    sni: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""
    alpn: tuple[bytes, ...] = ()
    minimum: str = VERSIONS[0]
    ciphers: str = ""
    reuse: bool = True
    starttls: str = ""
    path: str = field(default="", eq=False)
    line: int = field(default=0, eq=False)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it stands on."""
        return tuple(dict.fromkeys(path for path in (self.ca, self.certificate, self.key) if path))


@frozen
class PeerName(OneWord):
    """What a certificate is for."""

    shape: ClassVar[str] = "the name of a host, or an IP address"

    def read(self, word: Word) -> str:
        if is_ip_address(word.text):
            return ip_address(word.text)
        return host_name(word)


@frozen
class Sni(OneWord):
    """What is asked for by SNI."""

    shape: ClassVar[str] = f"the name of a host, `{CLIENT}`, or `{NO_SNI}`"

    def read(self, word: Word) -> str:
        if word.text in (CLIENT, NO_SNI):
            return word.text
        if is_ip_address(word.text):
            raise Invalid(f"{quoted(word.text)} is an address, and SNI has names alone (RFC 6066 3)")
        return host_name(word)


@frozen
class Authorities(File):
    """Who is trusted."""

    shape: ClassVar[str] = f"the path of a file, or `{SYSTEM}`"

    def read(self, word: Word) -> str:
        return "" if word.text == SYSTEM else super().read(word)


@frozen
class Protocols(OneWord):
    """Protocols as ``h2,http/1.1``."""

    shape: ClassVar[str] = "protocols as IANA registers them, with commas, such as `h2,http/1.1`"

    def read(self, word: Word) -> tuple[bytes, ...]:
        found = [Protocol().read(evolve(word, text=text)) for text in word.text.split(",")]
        if len(set(found)) < len(found):
            raise Invalid(f"{quoted(word.text)} has a protocol twice")
        return tuple(found)


def host_name(word: Word) -> str:
    """The name of a host, in lower case.  Raises `Invalid`."""
    name = word.text[:-1] if word.text.endswith(".") else word.text
    if not is_host_name(name):
        hint = "" if word.text.isascii() else "; write it as its xn-- form, as in xn--bcher-kva.example"
        raise Invalid(f"{quoted(word.text)} is not the name of a host{hint}")
    return name.lower()


def is_ip_address(text: str) -> bool:
    """Whether this is an IP address and no name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class ServerTls(Form):
    """``yes``, ``no``, or the parameters of TLS that is meant."""

    shape: ClassVar[str] = "`yes`, `no`, or any of the parameters below"
    parameters: ClassVar[tuple[Option, ...]] = (
        Option(
            "verify",
            YesNo(),
            "The certificate of a server must be for its `name`, and from an authority that is trusted "
            "(`ca`). With `no` whoever answers is believed to be the server.",
            "verify=no",
            default="yes",
        ),
        Option(
            "name",
            PeerName(),
            "What the certificates must be for.",
            "name=db.example.com",
            otherwise="the host that the server is given by, name or address; with `sni=client` the name "
            "that the client asks for",
        ),
        Option(
            "sni",
            Sni(),
            "The name to ask for by SNI; with `client`, the one that the client asks for in TLS of its own.",
            "sni=client",
            otherwise="the name that the certificate must be for; none if that is an address",
        ),
        Option(
            "ca",
            Authorities(),
            "A file with the certificates, in PEM, of the authorities that are trusted.",
            "ca=/etc/ssl/our-ca.pem",
            default=SYSTEM,
        ),
        Option(
            "certificate",
            File(),
            "A file with the certificate, in PEM, that we show to servers that ask for one, and those "
            "between it and its authority; with the key, too, if there is no `key`.",
            "certificate=/etc/ssl/proxy.pem",
            otherwise="we show none",
        ),
        Option(
            "key",
            File(),
            "The file of the certificate's private key, in PEM and not encrypted.",
            "key=/etc/ssl/private/proxy.key",
            otherwise="the key is in the file of the certificate",
        ),
        Option(
            "alpn",
            Protocols(),
            "What we say will be spoken within TLS. A server may take none of it: it is up to its clients "
            "what they speak.",
            "alpn=http/1.1",
            otherwise="we do not say",
        ),
        Option(
            "minimum", Choice(VERSIONS), "The oldest TLS that will do.", "minimum=1.3", default=VERSIONS[0]
        ),
        Option(
            "ciphers",
            Text(),
            "The ciphers of TLS 1.2, as OpenSSL's ciphers(1) has them; those of TLS 1.3 are all good.",
            "ciphers=ECDHE+AESGCM:ECDHE+CHACHA20",
            otherwise="those that OpenSSL thinks good",
        ),
        Option(
            "reuse",
            YesNo(),
            "A connection takes up the TLS session of one before it, which saves both sides most of the "
            "work. After an hour the server's certificate is looked at again.",
            "reuse=no",
            default="yes",
        ),
        starttls.SERVER_PARAMETER,
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[ServerTlsSpec]:
        first, *rest = words
        if "=" not in first.text:
            if first.text not in YesNo.WORDS:
                fail(first.line, unknown(first.text, ["yes", "no", *(each.name for each in self.parameters)]))
                return None
            words = rest
            if not YesNo.WORDS[first.text]:
                if rest:
                    fail(rest[0].line, f"{first.text} stands alone, and {quoted(rest[0].text)} follows")
                return None
        given = parameters(words, self.parameters, fail)
        if given is None:
            return None
        for fault in _contradictions(given):
            fail(first.line, fault)
        return ServerTlsSpec(**given, path=first.path, line=first.line)


def _contradictions(given: Mapping[str, Any]) -> Iterator[str]:
    if not given.get("verify", True):
        for name, what in (("name", "write sni=, to ask for a name"), ("ca", "no authority is asked")):
            if given.get(name):
                yield f"{name} means nothing with verify=no; {what}"
    if "key" in given and "certificate" not in given:
        yield "key means nothing without the certificate that it is for; write certificate=, too"


SERVER_PARAMETERS = (
    Option(
        "tls",
        YesNo(),
        "Whether the pool's `tls` is for this server, too.",
        "tls=no",
        otherwise="as in the pool",
    ),
    Option(
        "tls_name",
        PeerName(),
        "What `name` of the pool's `tls` is, for this server alone.",
        "tls_name=db1.example.com",
        otherwise="as in the pool",
    ),
)


def asked(given: dict[str, Any], pools: Optional[ServerTlsSpec]) -> Optional[ServerTlsSpec]:
    """Take what a server says of TLS out of its values, and make of it and its pool's what holds for it."""
    wanted, name = given.pop("tls", True), given.pop("tls_name", "")
    if pools is None or not wanted:
        return None
    return evolve(pools, name=name) if name else pools


def unfit(server: Mapping[str, Any], pools: Optional[ServerTlsSpec]) -> Iterator[str]:
    """What a server says of TLS that means nothing, and what there is to be said."""
    if pools is None:
        yield from (f"{name} is for a pool with tls" for name in ("tls", "tls_name") if name in server)
        return
    if not server.get("tls", True):
        if "tls_name" in server:
            yield "tls_name means nothing with tls=no"
        return
    if "tls_name" in server and not pools.verify:
        yield "tls_name means nothing with verify=no in tls of the pool"
    address: Address = server["address"]
    if isinstance(address, UnixAddress) and pools.verify and not (pools.name or server.get("tls_name")):
        yield (
            "is a unix socket, so it is not known what its certificate must be for; write "
            "tls_name=db1.example.com, for example"
        )
