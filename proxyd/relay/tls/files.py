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
from proxyd.policy.certificates import Certificates
from proxyd.relay.tls.certificate import (
    Authorities,
    Certificate,
    Trouble,
    is_authority,
    judged,
    make_certificate,
    public_key,
)

CERTIFICATES = (".pem", ".crt", ".cer", ".cert")
KEY, STAPLE = ".key", ".ocsp"
PRIVKEY = "privkey.pem"

MOST_FILES = 50_000
LONGEST = 1024 * 1024  # bytes of a file; a certificate with its chain has some 10,000

State = tuple[object, ...]

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


@frozen
class Pem:
    """What is in a file: certificates, those of authorities among them, keys, and what is wrong with it."""

    certificates: tuple[x509.Certificate, ...] = ()
    authorities: tuple[x509.Certificate, ...] = ()
    keys: tuple[PrivateKeyTypes, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    warnings: tuple[Trouble, ...] = ()
    unread: bool = False  # nobody knows


@frozen
class Part:
    """A certificate of a file, its key, what else is in that file, and the files that these are in."""

    leaf: x509.Certificate
    key: PrivateKeyTypes = field(eq=lambda key: id(key))
    rest: tuple[x509.Certificate, ...]
    paths: tuple[str, ...]


@frozen
class Made:
    """What has come of a part, with the authorities that there were."""

    part: Part
    authorities: Authorities
    certificate: Optional[Certificate]
    troubles: tuple[Trouble, ...]
    warnings: tuple[Trouble, ...]


@frozen
class Reading:
    """
    What the files of certificates had in them at some moment.

    ``states`` is what each looked like from outside, so that it is known what need not be read again.
    """

    states: Mapping[str, State] = field(factory=dict)
    pems: Mapping[str, Pem] = field(factory=dict)
    made: tuple[Made, ...] = ()
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
        if known is not None and not known.unread and before.states.get(path) == state:
            pems[path] = known
        elif not path.endswith(STAPLE):
            pems[path] = read_pem(path)
    troubles = [trouble for pem in pems.values() for trouble in pem.troubles]
    warnings = [warning for pem in pems.values() for warning in pem.warnings]
    if len(states) >= MOST_FILES:
        troubles.append(
            Trouble(_sources(spec)[0], f"has more files than can be read, which are {MOST_FILES}")
        )
    made = tuple(_gathered(spec.named, pems, before.made, troubles))
    troubles += [trouble for one in made for trouble in one.troubles]
    warnings += [warning for one in made for warning in one.warnings]
    certificates = tuple(one.certificate for one in made if one.certificate is not None)
    if not certificates and not troubles:
        for path in _sources(spec)[:1]:
            troubles.append(Trouble(path, "has no certificate with a private key", passing=True))
    return Reading(states, pems, made, certificates, tuple(troubles), tuple(warnings))


def judge(spec: TlsSpec, reading: Reading, wall: float) -> tuple[list[Trouble], list[Trouble]]:
    """What a daemon would not start with, and what it would warn of; but for what only OpenSSL can tell."""
    troubles, warnings = list(reading.troubles), list(reading.warnings)
    try:
        table = Certificates(reading.certificates, wall, spec.default)
    except LookupError:
        troubles.append(no_default(spec))
    else:
        expired = judged(reading.certificates, table, wall, warnings)
        (warnings if spec.serve_expired else troubles).extend(expired)
    return troubles, warnings


def no_default(spec: TlsSpec) -> Trouble:
    """There is no certificate for the name that is to be the default."""
    return Trouble(_sources(spec)[0], f"has no certificate for default={spec.default}", passing=True)


def read_pem(path: str) -> Pem:
    """The certificates and keys in a file."""
    try:
        data = contents(path)
    except OSError as error:
        return Pem(troubles=(Trouble(path, f"cannot be read: {error.strerror or error}"),), unread=True)
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
    authorities = tuple(filter(is_authority, certificates))
    return Pem(tuple(certificates), authorities, tuple(keys), tuple(troubles), tuple(warnings))


def contents(path: str) -> bytes:
    """All that is in a file that is not too long.  Raises OSError."""
    # What is opened might be a pipe into which nobody writes.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("it is no regular file")
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
    # ctime is of who may read it.
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def staple_path(path: str, states: Mapping[str, State]) -> Optional[str]:
    """The file beside a certificate that has its OCSP response."""
    return next((other for other in _beside(path, STAPLE) if other in states), None)


def _gathered(
    named: Optional[NamedFiles],
    pems: Mapping[str, Pem],
    before: Sequence[Made],
    troubles: list[Trouble],
) -> Iterator[Made]:
    """What comes of each certificate that has a key, once: from the file that has most of its chain."""
    authorities: dict[x509.Name, list[x509.Certificate]] = {}
    best: dict[x509.Certificate, Part] = {}
    keyless: list[str] = []
    for path, pem in pems.items():
        found: Union[str, Part, None] = None
        if pem.certificates and (named is None or path != named.chain):
            found = _match(path, pem, pems, named)
        if isinstance(found, Part):
            if found.leaf not in best or len(found.rest) > len(best[found.leaf].rest):
                best[found.leaf] = found
        elif found is not None:
            troubles.append(Trouble(path, found, passing=True))
        elif pem.certificates and pem.certificates[0] not in pem.authorities:
            keyless.append(path)
        for one in pem.authorities:
            if one not in authorities.setdefault(one.subject, []):
                authorities[one.subject].append(one)
    for path in keyless:
        if pems[path].certificates[0] not in best:
            text = f"has no private key, and neither has {os.path.basename(_beside(path, KEY)[-1])} beside it"
            troubles.append(Trouble(path, text, passing=True))
    # To check who has issued it is what takes long, a quarter of a millisecond.
    same = bool(before) and before[0].authorities == authorities
    known = {made.part.leaf: made for made in before if same}
    for leaf, part in best.items():
        made = known.get(leaf)
        if made is None or made.part != part:
            made = _make(part, authorities)
        yield made


def _make(part: Part, authorities: Authorities) -> Made:
    troubles: list[Trouble] = []
    warnings: list[Trouble] = []
    certificate = make_certificate(
        part.leaf, part.key, part.rest, authorities, part.paths, troubles, warnings
    )
    return Made(part, authorities, certificate, tuple(troubles), tuple(warnings))


def _match(
    path: str, pem: Pem, pems: Mapping[str, Pem], named: Optional[NamedFiles]
) -> Union[str, Part, None]:
    """The certificate in this file that has a key; why the key does not fit; or None if there is no key."""
    if named is not None:
        places: Sequence[str] = (named.key,) if path == named.certificate else ()
    elif pem.keys:
        places = (path,)
    else:
        places = [other for other in _beside(path, KEY) if other in pems][:1]
        privkey = _privkey(path)
        if not places and privkey in pems and pem.certificates[0] not in pem.authorities:
            places = (privkey,)
    for place in places:
        other = pems[place]
        for key in other.keys:
            public = key.public_key()
            for leaf in pem.certificates:
                if public_key(leaf) == public:
                    rest = tuple(one for one in pem.certificates if one is not leaf)
                    return Part(leaf, key, rest, tuple(dict.fromkeys((path, place))))
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
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError:
        yield folder  # to read it says why not
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
