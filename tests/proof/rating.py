"""
How does testssl.sh rate TLS as it is by default?

It tries every protocol, cipher and known weakness.  What it has to say of the certificates, which are made
here by an authority that nobody knows, and of HTTP, which is the server's, is left out.
"""

from __future__ import annotations

import json
from collections import Counter

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.proof._footing import prove
from tests.support.authority import DAY, NOW, Authority
from tests.support.daemon import relay
from tests.support.services import nginx
from tests.support.stage import Stage, program

HARMLESS = ("OK", "INFO", "LOW", "WARN")
NOT_OURS = ("cert_", "DNS_", "HSTS", "security_headers", "cookie", "banner")


async def proof(stage: Stage) -> str:
    server = await nginx(stage)
    (server.folder / "files" / "index.html").write_text("hello\n")
    root = Authority(until=NOW + 3000 * DAY)
    between = Authority("Between", root, NOW + 900 * DAY)
    folder = stage.subfolder("certs")
    for name, key in (("ecdsa", None), ("rsa", rsa.generate_private_key(65537, 2048))):
        issued = between.issue("localhost", until=NOW + 89 * DAY, key=key)
        issued.write(folder / f"{name}.pem")
        (folder / f"{name}.ocsp").write_bytes(between.vouch(issued))
    daemon = await relay(stage, server.place, listener=f"tls = {folder}")
    trust, out = root.write(stage.folder / "root.pem"), stage.folder / "rating.json"
    done = await stage.run(
        program("testssl", "testssl.sh"), "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none",
        "--add-ca", trust, "--jsonfile", out, str(daemon.front), seconds=900.0,
    )  # fmt: skip
    print(done.out.decode(errors="replace"))
    findings = [one for one in json.loads(out.read_text()) if not one["id"].startswith(NOT_OURS)]
    assert len(findings) > 100, findings
    bad = [one for one in findings if one["severity"] not in HARMLESS]
    for one in bad:
        print(f"{one['severity']}: {one['id']}: {one['finding']}")
    assert not bad, f"{len(bad)} weaknesses"
    await daemon.stop()
    counts = Counter(one["severity"] for one in findings)
    tellings = ", ".join(f"{count} {severity}" for severity, count in sorted(counts.items()))
    return f"{len(findings)} findings, no weakness above low: {tellings}"


if __name__ == "__main__":
    prove(proof)
