"""Is what a check asks of a server what its parameters say?"""

from __future__ import annotations

from typing import Any

import attrs

from proxyd.config.forms import Expect, Send
from proxyd.config.options import Secret
from proxyd.config.probes import (
    KINDS,
    CommandAsk,
    FtpAsk,
    HttpAsk,
    HttpsAsk,
    LdapAsk,
    MysqlAsk,
    PgsqlAsk,
    PythonAsk,
    RedisAsk,
    ScriptAsk,
    SmtpAsk,
    TcpAsk,
    TlsAsk,
)
from tests.config.ini import MINIMAL, IniCase

ASKED: list[tuple[str, Any]] = [
    ("tcp", TcpAsk()),
    ("redis", RedisAsk()),
    ("redis password=pw role=replica", RedisAsk(password="pw", role="replica")),
    ("pgsql user=u", PgsqlAsk("u")),
    ("pgsql user=u dbname=d password=p role=primary", PgsqlAsk("u", "d", "p", "primary")),
    ('pgsql user=u query="SELECT 1, 2" expect="1 2"', PgsqlAsk("u", query="SELECT 1, 2", expect="1 2")),
    ("mysql user=u password=p dbname=d", MysqlAsk("u", "d", "p")),
    (
        'mysql user=u query="select @@read_only" expect=0',
        MysqlAsk("u", query="select @@read_only", expect="0"),
    ),
    ("tls", TlsAsk()),
    ("tls verify=a.example ca=/ca.pem expiry=7d", TlsAsk("a.example", ca="/ca.pem", expiry=604800)),
    ("tls sni=a.example", TlsAsk(sni="a.example")),
    ("http", HttpAsk("GET", "/", "", ((200, 399),))),
    (
        "http method=HEAD path=/a?b host=w.example status=200,300-302 body=ok header='A: b c' header=D:",
        HttpAsk("HEAD", "/a?b", "w.example", ((200, 200), (300, 302)), "ok", (("A", "b c"), ("D", ""))),
    ),
    ("https path=/h verify=w.example", HttpsAsk(path="/h", verify="w.example")),
    (
        "script expect_regex=^220 send='QUIT\\r\\n' send_hex=00ff expect=221 expect_hex=0d0a",
        ScriptAsk((Expect(b"^220"), Send(b"QUIT\r\n"), Send(b"\0\xff"), Expect(b"221"), Expect(b"\\\r\\\n"))),
    ),
    ("smtp helo=[::1]", SmtpAsk("[::1]")),
    ("ftp", FtpAsk()),
    ("ldap", LdapAsk()),
    ("command path=/bin/probe", CommandAsk("/bin/probe")),
    ("command path=/bin/probe arg=-H arg={address}", CommandAsk("/bin/probe", ("-H", "{address}"))),
    ("python probe=a.b.C", PythonAsk("a.b.C")),
    ("python probe=a.C parameter=b=c=d parameter=e=", PythonAsk("a.C", (("b", "c=d"), ("e", "")))),
    ("ldap user=cn=a,dc=b password=p", LdapAsk("cn=a,dc=b", "p")),
]


class ProbesTests(IniCase):
    def test_asked(self) -> None:
        """Each parameter reaches the value of its kind."""
        for words, ask in ASKED:
            (check,) = self.load(f"{MINIMAL}check = {words}\n").pools[0].checks
            self.assertEqual((check.kind, check.ask), (words.split()[0], ask))

    def test_every_kind(self) -> None:
        """Each kind is tried above."""
        self.assertEqual({words.split()[0] for words, _ in ASKED}, set(KINDS))

    def test_fields(self) -> None:
        """Each parameter has a field, and what is secret is in no repr."""
        for kind in KINDS.values():
            fields: dict[str, Any] = attrs.fields_dict(kind.ask)  # type: ignore[arg-type]
            self.assertEqual({option.into or option.name for option in kind.parameters}, set(fields))
            for option in kind.parameters:
                hidden = fields[option.into or option.name].repr is False
                self.assertEqual(hidden, isinstance(option.form, Secret), option.name)
