"""What did the operator ask of the PROXY protocol?  Whom a header is taken from, and what servers get."""

from __future__ import annotations

import ipaddress
import re
from typing import ClassVar, Optional, Sequence, Union

from attrs import frozen

from proxyd.config.options import Fail, Flag, Form, OneWord, Option, parameters, unknown
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

_WORD = re.compile("[A-Za-z_]+(=.*)?", re.ASCII)
_CIDR = re.compile("([0-9A-Fa-f.:]+)(/[0-9]{1,3})?", re.ASCII)
_WHY = "if everybody might, anybody could claim any address; write 10.0.0.0/8, for example"
VERSIONS = {"v1": 1, "v2": 2}


@frozen
class ProxyIn:
    """
    ``proxy_protocol`` of a listener: who begins with a PROXY header, and where in the stream it stands.

    Clients with an address in ``trusted`` may send one, and with ``unix`` those on a unix socket.  They must,
    unless it is ``optional``.  With ``inside_tls`` it is the first thing inside the TLS that a bind ends.
    """

    trusted: tuple[Network, ...] = ()
    unix: bool = False
    optional: bool = False
    inside_tls: bool = False


@frozen
class ProxyOut:
    """``proxy_protocol`` of a pool: the version of the header that its servers get, and the TLVs in it."""

    version: int
    alpn: bool = False
    authority: bool = False
    ssl: bool = False
    unique_id: bool = False
    crc32c: bool = False


class NetworkForm(OneWord):
    """A network as ``10.0.0.0/8`` or ``fd00::/8``, or a single address."""

    shape: ClassVar[str] = "a network such as `10.0.0.0/8` or `fd00::/8`, or a single address"

    def read(self, word: Word) -> Network:
        found = _CIDR.fullmatch(word.text)
        try:
            if found is None:
                raise ValueError
            network = ipaddress.ip_network(word.text, strict=False)
        except ValueError:
            raise Invalid(
                f"{quoted(word.text)} is neither a network nor an address; write 10.0.0.0/8, for example"
            ) from None
        address = ipaddress.ip_address(found.group(1))
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            raise Invalid(
                f"{quoted(word.text)}: an IPv4 address is written as such, whatever socket it comes to"
            )
        if address != network.network_address:
            raise Invalid(
                f"{quoted(word.text)} has bits set behind its /{network.prefixlen}; "
                f"write {network} for the network, {address} for the one address"
            )
        return network


class Senders(Form):
    """``optional inside_tls unix NETWORK ...``: whom a PROXY header is taken from."""

    shape: ClassVar[str] = (
        "networks such as `10.0.0.0/8` and `fd00::/8`, single addresses, and any of the parameters below"
    )
    parameters: ClassVar[tuple[Option, ...]] = (
        Option(
            "unix",
            Flag(),
            "Clients on a unix socket may send a header.",
            "unix",
            otherwise="only those at the networks and addresses may",
        ),
        Option(
            "optional",
            Flag(),
            "Clients may also come without a header, whoever they are. A header is still taken from none but "
            "those who are listed.",
            "optional",
            otherwise="a client that is not listed, or does not begin with a header, is closed",
        ),
        Option(
            "inside_tls",
            Flag(),
            "The header is the first thing inside the TLS that an `ssl:` or `tls:` address ends.",
            "inside_tls",
            otherwise="it is the first thing of the connection",
        ),
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[ProxyIn]:
        flags = [word for word in words if _WORD.fullmatch(word.text)]
        given = parameters(flags, self.parameters, fail)
        trusted: dict[Network, None] = {}
        for word in words:
            if word in flags:
                continue
            try:
                network = NetworkForm().read(word)
            except Invalid as why:
                fail(word.line, str(why))
                continue
            if network in trusted:
                fail(word.line, f"{quoted(word.text)} is given twice")
            trusted[network] = None
        if len(flags) == len(words) and "unix" not in [word.text for word in words]:
            fail(words[0].line, f"names nobody who may send a header; {_WHY}")
        return ProxyIn(tuple(trusted), **given) if given is not None else None


_TOLD = "if a PROXY header has told it or the TLS ends here"


def _tlv(name: str, doc: str) -> Option:
    return Option(name, Flag(), doc, name, otherwise="not sent")


class Header(Form):
    """``v1``, or ``v2`` and the TLVs that go with it."""

    shape: ClassVar[str] = "`v1` or `v2`; then, with `v2`, any of the parameters below"
    parameters: ClassVar[tuple[Option, ...]] = (
        _tlv("alpn", f"The protocol within the client's TLS (ALPN), {_TOLD}."),
        _tlv(
            "authority",
            f"The name the client asks for in TLS (SNI), if it was read to take a route, {_TOLD}.",
        ),
        _tlv("ssl", f"That the client comes with TLS, and what is known of it, {_TOLD}."),
        _tlv("unique_id", "The connection's id."),
        _tlv("crc32c", "A checksum of the header."),
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[ProxyOut]:
        version, *rest = words
        if version.text not in VERSIONS:
            early = version.text in [option.name for option in self.parameters]
            fail(
                version.line,
                f"begins with the version of the header; write v2 before {version.text}"
                if early
                else unknown(version.text, VERSIONS),
            )
            return None
        tlvs = parameters(rest, self.parameters, fail)
        if version.text == "v1" and rest:
            fail(rest[0].line, f"v1 has no room for {quoted(rest[0].text)}; write v2")
        return ProxyOut(VERSIONS[version.text], **tlvs) if tlvs is not None else None
