"""Is what the operator asks of TLS taken for what is meant?"""

from __future__ import annotations

from typing import Any

from proxyd.config.reader import Word
from proxyd.config.tls import PASSTHROUGH, Tls, TlsSpec
from tests.support.case import Case

CERTS = ("/etc/proxyd/certs",)

GOOD: list[tuple[str, Any]] = [
    ("passthrough", PASSTHROUGH),
    ("/etc/proxyd/certs", TlsSpec(CERTS)),
    ("./certs", TlsSpec(CERTS)),
    ("./certs ./certs/ /a/b.pem", TlsSpec((*CERTS, "/a/b.pem"))),
    ("./certs/a=b.pem", TlsSpec(("/etc/proxyd/certs/a=b.pem",))),
    ("./certs default=WWW.example.com", TlsSpec(CERTS, default="www.example.com")),
    ("./certs strict_sni=yes serve_expired=yes", TlsSpec(CERTS, strict_sni=True, serve_expired=True)),
    ("./certs minimum=1.3", TlsSpec(CERTS, minimum="1.3")),
    ("./certs maximum=1.2 dhparam=dh.pem", TlsSpec(CERTS, maximum="1.2", dhparam="/etc/proxyd/dh.pem")),
    ("./certs ciphers=ECDHE+AESGCM:!SHA1", TlsSpec(CERTS, ciphers="ECDHE+AESGCM:!SHA1")),
    (
        "./certs ciphersuites=TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256 curves=P-384",
        TlsSpec(CERTS, ciphersuites="TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256", curves="P-384"),
    ),
    ("./certs alpn=h2,http/1.1 tickets=no", TlsSpec(CERTS, alpn=(b"h2", b"http/1.1"), tickets=False)),
    (
        "client=required client_ca=ca.pem client_crl=crl.pem ./certs",
        TlsSpec(CERTS, client="required", client_ca="/etc/proxyd/ca.pem", client_crl="/etc/proxyd/crl.pem"),
    ),
    ("./certs ocsp=off", TlsSpec(CERTS, ocsp="off")),
]

WRONG = [
    (
        "passthru",
        '"passthru" is neither passthrough nor the path of certificates; write tls = /etc/proxyd/certs',
    ),
    ("certs", "or ./certs for what is beside this file"),
    ("minimum=1.3", '"minimum=1.3" is neither passthrough nor the path of certificates'),
    ("passthrough ./certs", 'passthrough takes nothing with it, and "./certs" is more'),
    ("./certs other", '"other" is neither passthrough nor the path of certificates'),
    ("./certs minimun=1.2", '"minimun" is not known; did you mean "minimum"?'),
    ("./certs minimum=1.1", 'minimum: "1.1" is no version of TLS that is spoken here; write 1.2 or 1.3'),
    ("./certs minimum=1.3 maximum=1.2", "minimum=1.3 and maximum=1.2 leave no version"),
    ("./certs minimum=1.3 ciphers=HIGH", "ciphers is for TLS 1.2, which minimum=1.3 does not let in"),
    ("./certs minimum=1.3 dhparam=d", "dhparam is for TLS 1.2"),
    ("./certs maximum=1.2 ciphersuites=TLS_AES_128_GCM_SHA256", "ciphersuites is for TLS 1.3"),
    ("./certs ciphersuites=TLS_AES_128_GCM", 'did you mean "TLS_AES_128_GCM_SHA256"?'),
    ("./certs curves=P256", 'curves: "P256" is not known; did you mean "P-256"?'),
    ("./certs alpn=h2,", 'alpn: "" is not a protocol'),
    ("./certs alpn=h2,h2", 'alpn: "h2,h2" has a protocol twice'),
    ("./certs default=*.example.com", "of a wildcard, write one of the names that it is for"),
    ("./certs default=a.example strict_sni=yes", "default is for those whom strict_sni=yes refuses"),
    ("./certs client=required", "client=required needs client_ca=FILE"),
    ("./certs client=yes client_ca=ca.pem", 'client: "yes" is not known'),
    ("./certs client_ca=ca.pem", "client_ca is of no effect without client=required or client=optional"),
    ("./certs client_crl=crl.pem", "client_crl is of no effect"),
    ("./certs tickets=maybe", 'tickets: "maybe" is neither yes nor no'),
    ("./certs ocsp=yes", 'ocsp: "yes" is not known'),
]


class TlsTests(Case):
    def parse(self, text: str, said: list[str]) -> Any:
        words = [Word(word, "/etc/proxyd/proxy.ini", 1) for word in text.split()]
        return Tls().parse(words, lambda line, why: said.append(why))

    def test_good(self) -> None:
        """Paths and parameters are taken as they are written, in any order."""
        for text, value in GOOD:
            said: list[str] = []
            self.assertEqual((self.parse(text, said), said), (value, []), text)

    def test_wrong(self) -> None:
        """What cannot be meant is refused, with what would be right."""
        for text, why in WRONG:
            said: list[str] = []
            self.assertIsNone(self.parse(text, said), text)
            self.assertIn(why, "; ".join(said), text)
