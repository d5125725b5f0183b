"""Who may ask, and who decides that?  The ``auth =`` and ``forward_auth =`` of a route."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Iterator, Mapping, Optional, Sequence

from attrs import evolve, frozen

from proxyd.config.address import file_path
from proxyd.config.files import read_small
from proxyd.config.options import Duration, Fail, Form, OneWord, Option, parameters, unknown
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted
from proxyd.errors import Problem

BASIC = "basic"
FILE = "file:"

_REALM = re.compile(r"[ !#-\[\]-~]{1,100}", re.ASCII)
_URL = re.compile(r"https?://[A-Za-z0-9._~\[\]:-]{1,300}(/[!-\"$-~]{0,1000})?", re.ASCII)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)  # RFC 9110, 5.6.2

MOST_USERS = 10_000
HIGHEST_COST = 14  # a second; each step doubles it

_HASH = re.compile(rb"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}").fullmatch
USER = re.compile(rb"[\x21-\x39\x3b-\x7e\x80-\xff]{1,255}").fullmatch  # no colon (RFC 7617, 2), no blank

# What the question is made of, and what says how a message is framed or for whom it is.
_NEVER = frozenset(
    "connection content-length expect host keep-alive te trailer transfer-encoding upgrade x-forwarded-for "
    "x-forwarded-host x-forwarded-method x-forwarded-proto x-forwarded-uri".split()
)


@frozen
class BasicSpec:
    """Users with their passwords, in a file; ``realm`` is what browsers show who asks for them."""

    path: str
    realm: str = "restricted"


@frozen
class ForwardSpec:
    """
    A service is asked about each request: at this URL, for so many seconds at most.

    ``send`` are the fields of the request that it gets, ``copy`` those of its answer that the server gets;
    both in lower case.
    """

    url: str
    timeout: float = 5.0
    send: tuple[str, ...] = ("authorization", "cookie")
    copy: tuple[str, ...] = ()


@frozen
class Realm(OneWord):
    """What is protected, for people."""

    shape: ClassVar[str] = "up to 100 letters of ASCII, without quotes and backslashes"

    def read(self, word: Word) -> str:
        if not _REALM.fullmatch(word.text):
            raise Invalid(f"{quoted(word.text)} is not {self.shape}")
        return word.text


@frozen
class Names(OneWord):
    """Names of fields, with commas between."""

    shape: ClassVar[str] = "names of fields, with commas between"

    def read(self, word: Word) -> tuple[str, ...]:
        names = []
        for name in word.text.split(","):
            if not _TOKEN.fullmatch(name):
                raise Invalid(f"{quoted(name)} is not the name of a field")
            if name.lower() in _NEVER:
                raise Invalid(f"{name} is made by the proxy itself, for each message")
            names.append(name.lower())
        return tuple(names)


class Auth(Form):
    """``basic file:/etc/proxyd/users realm=Intern``."""

    shape: ClassVar[str] = (
        "`basic` and `file:PATH`, a file as htpasswd makes it, with bcrypt (`htpasswd -B`) and a cost of "
        "14 at most"
    )
    parameters: ClassVar[tuple[Option, ...]] = (
        Option("realm", Realm(), "What browsers show who asks for a password.", "realm=Intern", "restricted"),
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[BasicSpec]:
        kind, *rest = words
        if kind.text != BASIC:
            fail(kind.line, unknown(kind.text, (BASIC,)))
            return None
        name = rest[0].text[len(FILE) :] if rest and rest[0].text.startswith(FILE) else ""
        if not name or name.endswith("/"):
            fail(kind.line, "names no file; write basic file:/etc/proxyd/users, for example")
            return None
        values = parameters(rest[1:], self.parameters, fail)
        return None if values is None else BasicSpec(file_path(name, rest[0]), **values)


class ForwardAuth(Form):
    """``http://auth.internal/verify timeout=2s send=cookie copy=X-User``."""

    shape: ClassVar[str] = "a URL of http or https, and any of the parameters below"
    parameters: ClassVar[tuple[Option, ...]] = (
        Option("timeout", Duration(), "So long its answer is waited for.", "timeout=2s", "5s"),
        Option(
            "send",
            Names(),
            "Which fields of the request the service gets.",
            "send=authorization,cookie,user-agent",
            "authorization,cookie",
        ),
        Option(
            "copy",
            Names(),
            "Which fields of its answer the server gets in the request, in place of what the client says "
            "there.",
            "copy=x-user,x-groups",
            otherwise="none",
        ),
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[ForwardSpec]:
        url, *rest = words
        if not _URL.fullmatch(url.text):
            fail(url.line, f"{quoted(url.text)} is not a URL, such as http://auth.internal:9000/verify")
            return None
        values = parameters(rest, self.parameters, fail)
        return None if values is None else evolve(ForwardSpec(url.text), **values)


def read_users(path: str, problems: list[Problem]) -> dict[bytes, bytes]:
    """The hashes of a file's passwords, by the names of their users; what is wrong goes to ``problems``."""
    users: dict[bytes, bytes] = {}
    before = len(problems)
    for number, line in enumerate(read_small(path, problems).split(b"\n"), 1):
        line = line.strip()
        if not line or line.startswith(b"#"):
            continue
        user, colon, hashed = line.partition(b":")
        match = _HASH(hashed)
        name = quoted(user.decode("utf-8", "backslashreplace"))
        if not colon or not USER(user):
            problems.append(Problem(path, number, "is not a name, a colon, and the hash of a password"))
        elif match is None:
            text = f"the password of {name} is not hashed by bcrypt; set it by htpasswd -B"
            problems.append(Problem(path, number, text))
        elif not 4 <= int(match.group(1)) <= HIGHEST_COST:
            text = f"the password of {name} has the cost {int(match.group(1))}; it may be 4 to {HIGHEST_COST}"
            problems.append(Problem(path, number, text))
        elif user in users:
            problems.append(Problem(path, number, f"{name} is there twice"))
        else:
            users[user] = hashed
    if not users and len(problems) == before:
        problems.append(Problem(path, 0, "has no users"))
    if len(users) > MOST_USERS:
        problems.append(Problem(path, 0, f"has more than {MOST_USERS} users"))
    return users


OPTIONS = (
    Option(
        "auth",
        Auth(),
        "With `protocol = http`: only users with a password may ask (RFC 7617); others are answered 401 "
        "(`unauthorized`). The file is read again when it has changed; if it cannot be used then, the log "
        "says why, and what was read before holds. A password that was right is remembered for 5 minutes, "
        "as long as the file stays; checking one takes a processor some tens of milliseconds, beside what "
        "else is done. `{user}` in `request_header` and `response_header` is who has asked. Without TLS "
        "passwords can be overheard.",
        "auth = basic file:/etc/proxyd/users realm=Intern",
        otherwise="anybody may ask",
    ),
    Option(
        "forward_auth",
        ForwardAuth(),
        "With `protocol = http`: a service is asked about each request, by a GET with X-Forwarded-Method, "
        "-Proto, -Host, -Uri and -For. If its answer is 2xx the request goes on; any other (401, 403, a "
        "redirect to a login) is the client's. If it does not answer in time, the client is answered 503 "
        "(`auth_failed`).",
        "forward_auth = http://auth.internal:9000/verify copy=x-user",
        otherwise="nobody is asked",
    ),
)


def contradictions(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What does not go together: each an option, and what is wrong with it."""
    if "auth" in given and "forward_auth" in given:
        yield "forward_auth", "cannot be beside auth; one of them decides who may ask"
