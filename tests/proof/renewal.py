"""
Does any request fail while certificates are replaced, and how soon is a new one served?

200 clients a second shake hands anew, check the certificate, and make a request.  Meanwhile the certificate
is renewed several times, and in between replaced by one that cannot be used.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from pathlib import Path
from time import perf_counter, sleep

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool

from tests.proof._footing import MIB, footprint, prove, unchanged
from tests.support.authority import Authority, Issued
from tests.support.daemon import relay
from tests.support.services import nginx
from tests.support.stage import Place, Stage

RATE = 200  # requests a second, each on a connection of its own
THREADS = 4
RENEWALS = 4
SECONDS = 8.0  # between two of them
NAME = "www.example.com"
BODY = b"hello\n"


@define
class Load:
    """Clients at a steady rate; which certificate each has got, by its serial number, and what has failed."""

    front: Place
    trust: ssl.SSLContext
    got: list[tuple[float, int]] = field(factory=list)
    failed: list[str] = field(factory=list)
    stopping: threading.Event = field(factory=threading.Event)

    def run(self) -> None:
        """One thread's share."""
        due = perf_counter()
        while not self.stopping.is_set():
            due += THREADS / RATE
            sleep(max(0.0, due - perf_counter()))
            try:
                self.got.append(self.request())
            except (OSError, ValueError) as error:
                self.failed.append(f"{type(error).__name__}: {error}")

    def request(self) -> tuple[float, int]:
        """Shake hands, make a request, and check the answer."""
        with socket.create_connection((self.front.host, self.front.port), 10) as plain:
            with self.trust.wrap_socket(plain, server_hostname=NAME) as tls:
                when, der = perf_counter(), tls.getpeercert(True)
                tls.sendall(f"GET /hello HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
                answer = b""
                while data := tls.recv(65536):
                    answer += data
        if not answer.endswith(BODY) or der is None:
            raise ValueError(f"the answer was {answer!r}")
        return when, x509.load_der_x509_certificate(der).serial_number


async def proof(stage: Stage) -> str:
    server = await nginx(stage)
    (server.folder / "files" / "hello").write_bytes(BODY)
    root = Authority()
    folder = stage.subfolder("certs")
    issued = root.issue(NAME)
    put(issued, folder)
    daemon = await relay(stage, server.place, listener=f"tls = {folder}")
    trust = ssl.create_default_context(cadata=root.pem.decode())
    load = Load(daemon.front, trust)
    load.request()
    before = await footprint(daemon)
    pool = stage.reactor.getThreadPool()
    running = [deferToThreadPool(stage.reactor, pool, load.run) for _ in range(THREADS)]
    late, mixed = [], []
    began = perf_counter()
    for number in range(RENEWALS):
        await deferLater(stage.reactor, SECONDS)
        if number == RENEWALS // 2:
            put(root.issue(NAME, key=rsa.generate_private_key(65537, 1024)), folder)
            await deferLater(stage.reactor, SECONDS)
            assert "OpenSSL refuses it: ee key too small" in daemon.log, daemon.log
            assert load.got[-1][1] == issued.certificate.serial_number
        issued = root.issue(NAME)
        replaced = perf_counter()
        put(issued, folder)
        await deferLater(stage.reactor, SECONDS)
        new = [when for when, serial in load.got if serial == issued.certificate.serial_number]
        old = [when for when, serial in load.got if serial != issued.certificate.serial_number]
        assert new, f"it was not served within {SECONDS:g} s: {daemon.log}"
        late.append(min(new) - replaced)
        mixed.append(max(old) - min(new))
        print(f"served {late[-1]:.1f} s after it was there")
    load.stopping.set()
    for each in running:
        await each
    seconds = perf_counter() - began
    assert load.failed == [], load.failed[:5]
    assert max(mixed) < 0.5, "the old one was served after the new one"
    grown = await unchanged(daemon, before, 3 * MIB)
    return (
        f"{len(load.got)} requests, none failed, {len(load.got) / seconds:.0f}/s; {RENEWALS} renewals served "
        f"within {max(late):.1f} s, a broken one refused; {grown}"
    )


def put(issued: Issued, folder: Path) -> None:
    """Put a certificate in the place of the one before, in one step."""
    path = folder / ".new"
    path.write_bytes(issued.key + issued.chain)
    path.chmod(0o640)
    os.replace(path, folder / "www.pem")


if __name__ == "__main__":
    prove(proof)
