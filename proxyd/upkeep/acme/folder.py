"""
Where are the account, the keys and the certificates of an authority kept?

In ``STATE/acme/NAME``, which nobody else may read::

    account.json            our key there, and what the authority calls our account
    certificates/WWW.pem    a key and its chain; listeners that name the authority read this folder
    retired/WWW.pem         one that the configuration does not ask for any more
    orders/WWW.json         an order that is under way and the key that it is for, so that a certificate which
                            was ordered is not lost when the process is killed before it has it

Each file is written whole or not at all.  What root makes there belongs to whom the state folder belongs, as
the daemon may be that user by the time when it writes again.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from typing import Any, Callable, Optional

from attrs import frozen
from twisted.logger import Logger

from proxyd.config.acme import AcmeSpec, CertificateSpec, certificates_folder
from proxyd.errors import StartError
from proxyd.upkeep.acme.keys import (
    Held,
    Key,
    UnfitCertificate,
    account_key_in,
    held,
    key_in,
    new_account_key,
    pem_of,
    placeholder,
)
from proxyd.upkeep.statefile import replace

MODE = 0o700

_LONGEST = 1024 * 1024  # bytes of a file that is read again


@frozen
class Account:
    """Our key with an authority, and what it calls our account; empty if it does not know us yet."""

    key: Any
    url: str = ""


@frozen
class PendingOrder:
    """An order that is under way: its URL, and the key of the certificate to be."""

    url: str
    key: Key
    names: tuple[str, ...]


class AcmeFolder:
    """What we have of one authority; ``certificates`` is the folder that listeners read."""

    _log = Logger()

    def __init__(self, state: str, spec: AcmeSpec) -> None:
        self.certificates = certificates_folder(state, spec.name)
        self.path = os.path.dirname(self.certificates)
        self._state = state
        self._spec = spec

    def prepare(self, wall: float) -> list[str]:
        """
        Make what is missing, a placeholder for each certificate included; a line for each thing wrong.

        It is called before listeners read their certificates.
        """
        try:
            for path in (os.path.dirname(self.path), self.path, self.certificates, self._file("orders")):
                with suppress(FileExistsError):
                    os.mkdir(path, MODE)
                self._close(path)
            self._retire()
            for spec in self._spec.certificates:
                if self.held(spec) is None:
                    _replace(self.path_of(spec), placeholder(spec.names, spec.key, wall))
            self._give_away()
        except OSError as error:
            where, why = error.filename or self.path, error.strerror
            return [f"[acme {self._spec.name}] {where}: {why}; [proxyd] state must be writable"]
        except StartError as error:
            return list(error.lines)
        return []

    def _close(self, path: str) -> None:
        """
        Let nobody else into a folder.  Raises `StartError` if it is none.

        A link is none: whoever the daemon is later may write here, and is not to lead root elsewhere.
        """
        try:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except NotADirectoryError:
            raise StartError((f"[acme {self._spec.name}] {path} is not a folder",)) from None
        try:
            os.fchmod(folder, MODE)
        finally:
            os.close(folder)

    def _retire(self) -> None:
        """Take away what nobody wants any more: it would be served on and never be renewed."""
        wanted = {f"{spec.name}.pem" for spec in self._spec.certificates}
        there = {name for name in os.listdir(self.certificates) if name.endswith(".pem")}
        for name in sorted(there - wanted):
            with suppress(FileExistsError):
                os.mkdir(self._file("retired"), MODE)
            self._close(self._file("retired"))
            os.replace(self._file("certificates", name), self._file("retired", name))
            self._log.info(
                "[acme {authority}] {name} is not asked for any more, and was moved to {folder}",
                authority=self._spec.name,
                name=name,
                folder=self._file("retired"),
            )

    def writable(self) -> bool:
        """Whether whoever we are by now may write there."""
        return all(os.access(path, os.W_OK | os.X_OK) for path in (self.path, self.certificates))

    def _give_away(self) -> None:
        """Let all of it belong to whom the state folder belongs, if we are root and that is not root."""
        owner = os.stat(self._state)
        if os.geteuid() != 0 or owner.st_uid == 0:
            return
        os.chown(os.path.dirname(self.path), owner.st_uid, owner.st_gid, follow_symlinks=False)
        for folder, _, files in os.walk(self.path):
            for path in (folder, *(os.path.join(folder, name) for name in files)):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def account(self) -> Account:
        """Our account; a new key if there is none, or if it is with another directory."""
        path = self._file("account.json")

        def judge(found: dict[str, Any]) -> Optional[Account]:
            if found["directory"] != self._spec.directory:
                return None
            return Account(account_key_in(found["key"]), str(found["url"]))

        return self._read(path, judge) or Account(new_account_key())

    def keep_account(self, account: Account) -> None:
        """Keep our account.  Raises OSError."""
        self._write(
            self._file("account.json"),
            {"directory": self._spec.directory, "url": account.url, "key": pem_of(account.key)},
        )

    def order(self, spec: CertificateSpec) -> Optional[PendingOrder]:
        """The order that is under way for a certificate as it is to be now."""
        path = self._file("orders", f"{spec.name}.json")

        def judge(found: dict[str, Any]) -> Optional[PendingOrder]:
            fits = found["directory"] == self._spec.directory and found["kind"] == spec.key
            names = tuple(map(str, found["names"]))
            return PendingOrder(str(found["url"]), key_in(found["key"]), names) if fits else None

        pending: Optional[PendingOrder] = self._read(path, judge)
        if pending is None or set(pending.names) != set(spec.names):
            return None
        with suppress(OSError, ValueError):
            if pem_of(pending.key) in _text(self.path_of(spec)):
                return None  # it was killed just before the order would have been forgotten
        return pending

    def keep_order(self, spec: CertificateSpec, order: PendingOrder) -> None:
        """Keep an order that is under way.  Raises OSError."""
        self._write(
            self._file("orders", f"{spec.name}.json"),
            {
                "directory": self._spec.directory,
                "kind": spec.key,
                "url": order.url,
                "key": pem_of(order.key),
                "names": list(order.names),
            },
        )

    def forget_order(self, spec: CertificateSpec) -> None:
        """It is over, one way or another.  Raises OSError."""
        with suppress(FileNotFoundError):
            os.unlink(self._file("orders", f"{spec.name}.json"))

    def held(self, spec: CertificateSpec) -> Optional[Held]:
        """What there is of a certificate; None if nothing is that could be served."""
        path = self.path_of(spec)
        try:
            return held(_text(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, UnfitCertificate) as error:
            self._log.warn("{path} is left out, and had anew: {why}", path=path, why=error)
            return None

    def keep_certificate(self, spec: CertificateSpec, pem: str) -> None:
        """Put a key and its chain into the place of those before.  Raises OSError."""
        _replace(self.path_of(spec), pem)

    def path_of(self, spec: CertificateSpec) -> str:
        """The file of a certificate."""
        return self._file("certificates", f"{spec.name}.pem")

    def _file(self, *parts: str) -> str:
        return os.path.join(self.path, *parts)

    def _read(self, path: str, judge: Callable[[dict[str, Any]], Any]) -> Any:
        """What ``judge`` makes of a file; None if it is not there, or of no use."""
        try:
            return judge(json.loads(_text(path)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            self._log.warn("{path} is left out: {why}", path=path, why=error)
            return None

    def _write(self, path: str, content: dict[str, Any]) -> None:
        _replace(path, json.dumps(content, indent=1))


def _replace(path: str, text: str) -> None:
    replace(path, text.encode("ascii"))


def _text(path: str) -> str:
    """The text of a file.  Raises OSError, or ValueError if it is not ours."""
    with open(path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a file")
        text = file.read(_LONGEST + 1)
    if len(text) > _LONGEST:
        raise ValueError("it is longer than what is written there")
    return text.decode("ascii")
