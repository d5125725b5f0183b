"""
Which files of a folder belong together?

A certificate stands in a file ``.pem``, ``.crt``, ``.cer`` or ``.cert``; of several there the one that has a
key is meant, and the others are its chain.  Its key is looked for where the field's tools put it:

1. in the same file (HAProxy),
2. in ``NAME.key`` or ``NAME.crt.key`` beside ``NAME.crt``,
3. in ``privkey.pem`` in the same folder (certbot, dehydrated).

A file that has only certificates of authorities offers them to the chains of all others.  The folders in a
folder are looked into as well, but no deeper, and nothing whose name begins with a dot: Kubernetes keeps the
versions of a secret there.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Iterator, Mapping, Optional, Sequence, Union

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from proxyd.config.tls import NamedFiles, TlsSpec
from proxyd.relay.tls.certificate import Certificate, Trouble, is_authority, make_certificate

CERTIFICATES = (".pem", ".crt", ".cer", ".cert")
KEY, STAPLE = ".key", ".ocsp"
PRIVKEY = "privkey.pem"

MOST_FILES = 50_000
LONGEST = 1024 * 1024  # bytes of a file; a certificate with its chain has some 10,000

State = tuple[object, ...]

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


@frozen
class Pem:
    """What is in a file: certificates, private keys, and what is wrong with it."""

    certificates: tuple[x509.Certificate, ...] = ()
    keys: tuple[PrivateKeyTypes, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    warnings: tuple[Trouble, ...] = ()


@frozen
class Reading:
    """
    What the files of certificates had in them at some moment.

    ``states`` is what each looked like from outside, so that it is known what need not be read again.
    """

    states: Mapping[str, State] = field(factory=dict)
    pems: Mapping[str, Pem] = field(factory=dict)
    certificates: tuple[Certificate, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    warnings: tuple[Trouble, ...] = ()


def look(spec: TlsSpec) -> dict[str, State]:
    """What the files that certificates may be in look like from outside, in the order of their names."""
    found: dict[str, State] = {}
    for path in _sources(spec):
        state = state_of(path)
        if not _is_folder(path):
            found[path] = state
            for other in (*_beside(path, KEY), *_beside(path, STAPLE), _privkey(path)):
                if spec.named is None and os.path.exists(other):
                    found[other] = state_of(other)
            continue
        for file in _listed(path):
            if len(found) < MOST_FILES:
                found[file] = state_of(file)
    return found


def read(spec: TlsSpec, states: Mapping[str, State], before: Reading) -> Reading:
    """The certificates in these files; what has not changed since the reading before is not read again."""
    pems: dict[str, Pem] = {}
    for path, state in states.items():
        known = before.pems.get(path)
        if known is not None and before.states.get(path) == state:
            pems[path] = known
        elif not path.endswith(STAPLE):
            pems[path] = read_pem(path)
    troubles = [trouble for pem in pems.values() for trouble in pem.troubles]
    warnings = [warning for pem in pems.values() for warning in pem.warnings]
    if len(states) >= MOST_FILES:
        troubles.append(
            Trouble(_sources(spec)[0], f"has more files than can be read, which are {MOST_FILES}")
        )
    certificates = tuple(_gathered(spec.named, pems, troubles, warnings))
    if not certificates and not troubles:
        for path in _sources(spec)[:1]:
            troubles.append(Trouble(path, "has no certificate with a private key", passing=True))
    return Reading(states, pems, certificates, tuple(troubles), tuple(warnings))


def read_pem(path: str) -> Pem:
    """The certificates and keys in a file."""
    try:
        data = contents(path)
    except OSError as error:
        return Pem(troubles=(Trouble(path, f"cannot be read: {error.strerror or error}"),))
    certificates: list[x509.Certificate] = []
    keys: list[PrivateKeyTypes] = []
    troubles: list[Trouble] = []
    for block in _BLOCK.finditer(data):
        what = block[1].decode("ascii")
        try:
            if what == "CERTIFICATE":
                certificates.append(x509.load_pem_x509_certificate(block[0]))
            elif what.endswith("PRIVATE KEY"):
                keys.append(serialization.load_pem_private_key(block[0], None))
        except TypeError:
            why = "has a key that is encrypted, and nobody is here to give the passphrase"
            troubles.append(Trouble(path, f"{why}; openssl pkey -in FILE -out FILE decrypts it"))
        except (ValueError, UnsupportedAlgorithm) as error:
            text = f"has a {what.lower()} that cannot be read: {' '.join(str(error).split())[:200]}"
            troubles.append(Trouble(path, text, passing=True))
    if b"-----BEGIN" in _BLOCK.sub(b"", data):
        troubles.append(Trouble(path, "ends in the middle of a certificate or a key", passing=True))
    warnings = []
    if keys and os.stat(path).st_mode & stat.S_IROTH:
        warnings.append(Trouble(path, "has a private key that everybody may read; chmod o-r"))
    return Pem(tuple(certificates), tuple(keys), tuple(troubles), tuple(warnings))


def contents(path: str) -> bytes:
    """All that is in a file that is not too long.  Raises OSError."""
    with open(path, "rb") as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise OSError(f"it is longer than {LONGEST} bytes")
    return data


def state_of(path: str) -> State:
    """What a file looks like from outside."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        return (str(error),)
    return found.st_mtime_ns, found.st_size, found.st_ino


def staple_path(path: str, states: Mapping[str, State]) -> Optional[str]:
    """The file beside a certificate that has its OCSP response."""
    return next((other for other in _beside(path, STAPLE) if other in states), None)


def _gathered(
    named: Optional[NamedFiles],
    pems: Mapping[str, Pem],
    troubles: list[Trouble],
    warnings: list[Trouble],
) -> Iterator[Certificate]:
    """Each certificate that has a key, once: from the file that has most of its chain."""
    authorities: dict[x509.Name, list[x509.Certificate]] = {}
    parts: list[tuple[x509.Certificate, PrivateKeyTypes, list[x509.Certificate], tuple[str, ...]]] = []
    keyless: list[str] = []
    for path, pem in pems.items():
        if not pem.certificates or (named is not None and path == named.chain):
            found: Union[str, _Match, None] = None
        else:
            found = _match(path, pem, pems, named)
        if isinstance(found, _Match):
            rest = [one for one in pem.certificates if one is not found.leaf]
            parts.append((found.leaf, found.key, rest, (path, found.path)))
        elif found is not None:
            troubles.append(Trouble(path, found, passing=True))
        elif pem.certificates and not is_authority(pem.certificates[0]):
            keyless.append(path)
        for one in pem.certificates:
            if is_authority(one):
                authorities.setdefault(one.subject, []).append(one)
    best: dict[bytes, tuple[x509.Certificate, PrivateKeyTypes, list[x509.Certificate], tuple[str, ...]]] = {}
    for part in parts:
        fingerprint = part[0].public_bytes(serialization.Encoding.DER)
        if fingerprint not in best or len(part[2]) > len(best[fingerprint][2]):
            best[fingerprint] = part
    for path in keyless:
        leaf = pems[path].certificates[0]
        if leaf.public_bytes(serialization.Encoding.DER) not in best:
            text = f"has no private key, and neither has {os.path.basename(_beside(path, KEY)[-1])} beside it"
            troubles.append(Trouble(path, text, passing=True))
    for leaf, key, rest, paths in best.values():
        files = tuple(dict.fromkeys(paths))
        made = make_certificate(leaf, key, rest, authorities, files, troubles, warnings)
        if made is not None:
            yield made


@frozen
class _Match:
    """A certificate of a file, its key, and the file that this is in."""

    leaf: x509.Certificate
    key: PrivateKeyTypes
    path: str


def _match(
    path: str, pem: Pem, pems: Mapping[str, Pem], named: Optional[NamedFiles]
) -> Union[str, _Match, None]:
    """The certificate in this file that has a key; why the key does not fit; or None if there is no key."""
    if named is not None:
        places: Sequence[str] = (named.key,) if path == named.certificate else ()
    elif pem.keys:
        places = (path,)
    else:
        places = [other for other in _beside(path, KEY) if other in pems][:1]
        privkey = _privkey(path)
        if not places and privkey in pems and not is_authority(pem.certificates[0]):
            places = (privkey,)
    for place in places:
        other = pems[place]
        for key in other.keys:
            public = key.public_key()
            for leaf in pem.certificates:
                if leaf.public_key() == public:
                    return _Match(leaf, key, place)
        if place == path:
            return "the private key in it belongs to none of the certificates in it"
        if other.keys:
            return f"the private key in {place} does not belong to it"
        if other.troubles:
            return f"its private key in {place} cannot be had"
        return f"{place} has no private key"
    return None


def _sources(spec: TlsSpec) -> tuple[str, ...]:
    named = spec.named
    if named is None:
        return spec.certificates
    return tuple(dict.fromkeys(filter(None, (named.certificate, named.key, named.chain))))


def _listed(folder: str, deeper: bool = True) -> Iterator[str]:
    """The files in a folder that may matter, and in the folders in it."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        path = os.path.join(folder, name)
        if name.startswith("."):
            continue
        if os.path.splitext(name)[1] in (*CERTIFICATES, KEY, STAPLE):
            if not _is_folder(path):
                yield path
        elif deeper and _is_folder(path):
            yield from _listed(path, deeper=False)


def _beside(path: str, suffix: str) -> tuple[str, str]:
    return path + suffix, os.path.splitext(path)[0] + suffix


def _privkey(path: str) -> str:
    return os.path.join(os.path.dirname(path), PRIVKEY)


def _is_folder(path: str) -> bool:
    return os.path.isdir(path)
