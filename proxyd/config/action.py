"""What may a route do with a request?  The actions of a ``[route]``, with ``protocol = http``."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Iterator, Mapping, Optional, Sequence

from attrs import fields_dict, frozen

from proxyd.config import auth, compression, errorpage, static
from proxyd.config.address import file_path
from proxyd.config.auth import BasicSpec, ForwardSpec
from proxyd.config.bandwidth import Size
from proxyd.config.cache import OFF
from proxyd.config.compression import CompressionSpec
from proxyd.config.condition import PATTERN_SIGN, PathName
from proxyd.config.errorpage import ErrorPageSpecs, error_page
from proxyd.config.files import content_type
from proxyd.config.forms import Pattern
from proxyd.config.limits import Rate, RateSpec
from proxyd.config.options import Count, Duration, Fail, Form, Option, Reference, unknown
from proxyd.config.reader import Word
from proxyd.config.static import StaticSpec
from proxyd.config.template import Template, template
from proxyd.config.words import Invalid, quoted

SCHEME, HOST, PATH, QUERY, URI = "scheme", "host", "path", "query", "uri"
CLIENT, LISTENER, ROUTE, USER = "client", "listener", "route", "user"
OF_THE_REQUEST = (SCHEME, HOST, PATH, QUERY, URI)
OF_ALL = (*OF_THE_REQUEST, CLIENT, LISTENER, ROUTE, USER)

SET, ADD, REMOVE = "set", "add", "remove"

BOTH_WAYS = "both_ways"
EDITS = (SET, ADD, REMOVE)

REDIRECTS = (301, 302, 303, 307, 308)

FILE = "file:"

_STATUS = re.compile(r"[1-5][0-9][0-9]", re.ASCII)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)  # RFC 9110, 5.6.2
_LOCATION = re.compile(r"(https?://[^/?#\s]+|/|\{(scheme|path|uri)\})[!-~]*", re.ASCII)
_VALUE = re.compile(r"[\x20-\x7e]*", re.ASCII)
GROUP = re.compile(r"\\([1-9])", re.ASCII)
_TO = re.compile(r"(?:[!$-\x3e@-\x5b\x5d-~]|\\[1-9])*", re.ASCII)

# What says how a message is framed, how it came here, or for whom it is, is ours to say.
_OURS = frozenset(
    "connection content-length date expect forwarded http2-settings keep-alive proxy-connection te trailer "
    "transfer-encoding upgrade via x-forwarded-for x-forwarded-proto".split()
)


@frozen
class RedirectSpec:
    """The client is sent elsewhere."""

    status: int
    location: Template


@frozen
class RespondSpec:
    """The client is answered: with this text, or what is in the file; with neither, with a page of ours."""

    status: int
    text: Optional[str] = None
    path: str = ""
    content_type: str = "text/plain; charset=utf-8"


@frozen
class RewriteSpec:
    """
    A path that is this one, or below it, is below another one; or what a pattern finds is replaced.

    ``both_ways`` is whether paths in answers are led back, too, by whatever host they are.
    """

    found: str
    to: str
    pattern: bool = False
    both_ways: bool = False

    def __str__(self) -> str:
        """As it is written."""
        return f"{PATTERN_SIGN * self.pattern}{self.found} {self.to}{f' {BOTH_WAYS}' * self.both_ways}"


@frozen
class EditSpec:
    """A field is set, added or removed."""

    how: str
    name: str
    value: Template = Template(())


@frozen
class ActionSpec:
    """
    What a route does; ``rate_per_header`` are names of fields in lower case, with the rate of each value.
    """

    redirect: Optional[RedirectSpec] = None
    respond: Optional[RespondSpec] = None
    rewrite: Optional[RewriteSpec] = None
    request_header: tuple[EditSpec, ...] = ()
    response_header: tuple[EditSpec, ...] = ()
    auth: Optional[BasicSpec] = None
    forward_auth: Optional[ForwardSpec] = None
    request_rate: Optional[RateSpec] = None
    request_rate_per_client: Optional[RateSpec] = None
    request_rate_per_path: Optional[RateSpec] = None
    request_rate_per_header: tuple[tuple[str, RateSpec], ...] = ()
    max_concurrent_requests: int = 0
    max_body: int = 0
    response_timeout: float = 0.0
    retries: int = -1
    cache: str = ""
    error_page: ErrorPageSpecs = ()
    compression: Optional[CompressionSpec] = None
    root: Optional[StaticSpec] = None


class Redirect(Form):
    """``301 https://{host}{uri}``, or without the status."""

    shape: ClassVar[str] = (
        "a status (301, 302, 303, 307 or 308) and where to, in which "
        + ", ".join(f"`{{{name}}}`" for name in OF_THE_REQUEST)
        + " stand for what was asked"
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[RedirectSpec]:
        first, *rest = words
        if len(words) != 2:
            fail(first.line, "is a status and where to, as in 301 https://{host}{uri}")
            return None
        if not first.text.isdigit() or int(first.text) not in REDIRECTS:
            known = ", ".join(map(str, REDIRECTS))
            fail(
                first.line,
                f"{quoted(first.text)} is no status that sends clients elsewhere; known are {known}",
            )
            return None
        text = rest[0].text
        try:
            if not _LOCATION.fullmatch(text) or text.startswith("//"):
                raise Invalid(
                    f"{quoted(text)} is no place; it begins with http://, https://, / or {{scheme}}://"
                )
            return RedirectSpec(int(first.text), template(text, OF_THE_REQUEST))
        except Invalid as why:
            fail(rest[0].line, str(why))
        return None


class Respond(Form):
    """``403``, ``403 "Not here."`` or ``503 file:/etc/proxyd/sorry.html``."""

    shape: ClassVar[str] = (
        "a status of 200 to 599, and if it is to be more than a short page, a text in quotes, or "
        "`file:PATH` for what is in that file when the daemon starts, 1 MiB at most"
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[RespondSpec]:
        first, *rest = words
        if not _STATUS.fullmatch(first.text) or int(first.text) < 200:
            fail(first.line, f"{quoted(first.text)} is not a status of 200 to 599")
            return None
        status = int(first.text)
        if len(rest) > 1:
            fail(
                rest[1].line,
                f"{quoted(rest[1].text)} is one word too many; a text with blanks stands in quotes",
            )
            return None
        if not rest:
            return RespondSpec(status)
        if status in (204, 205, 304):
            fail(rest[0].line, f"{status} has no body (RFC 9110, 15)")
            return None
        text = rest[0].text
        if not text.startswith(FILE):
            return RespondSpec(status, text)
        name = text[len(FILE) :]
        if not name or name.endswith("/"):
            fail(
                rest[0].line, f"{quoted(text)} names no file; write file:/etc/proxyd/sorry.html, for example"
            )
            return None
        return RespondSpec(status, None, file_path(name, rest[0]), content_type(name))


class Rewrite(Form):
    """``/v1 /api/v1``, ``/v1 / both_ways``, or ``~^/users/([0-9]+) /u/\\1``."""

    shape: ClassVar[str] = (
        "a path and what stands for it, and `both_ways` if that is so for answers, too; or `~`, a regular "
        "expression, and what stands for what it finds first, with `\\1` for its first group"
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[RewriteSpec]:
        both_ways = len(words) == 3 and words[2].text == BOTH_WAYS
        if len(words) != 2 + both_ways:
            fail(words[0].line, "is what is found and what stands for it, as in /v1 /api/v1")
            return None
        found, to = words[:2]
        try:
            if found.text.startswith(PATTERN_SIGN):
                if both_ways:
                    raise Invalid("what a pattern has made cannot be led back; both_ways is for paths")
                return self._pattern(found, to)
            return RewriteSpec(PathName().read(found), PathName().read(to), both_ways=both_ways)
        except Invalid as why:
            fail(found.line, str(why))
        return None

    def _pattern(self, found: Word, to: Word) -> RewriteSpec:
        pattern = Pattern().read(Word(found.text[1:], found.path, found.line))
        if not _TO.fullmatch(to.text):
            raise Invalid(
                f"{quoted(to.text)} cannot stand in a path; ASCII does, without blanks, # and ?, and \\1"
            )
        import regex  # not needed by most configurations, and proxyctl starts quickly

        groups = regex.compile(pattern).groups
        for group in GROUP.findall(to.text):
            if int(group) > groups:
                raise Invalid(f"{quoted(to.text)} has \\{group}, and the pattern has {groups or 'no'} groups")
        return RewriteSpec(pattern, to.text, True)


@frozen
class Edit(Form):
    """``set X-Client {client}``, ``add NAME VALUE`` or ``remove NAME``."""

    of_requests: bool

    @property
    def shape(self) -> str:  # type: ignore[override]
        names = ", ".join(f"`{{{name}}}`" for name in OF_ALL)
        return (
            f"`set NAME VALUE`, `add NAME VALUE` or `remove NAME`; in the value {names} stand for what is so"
        )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[EditSpec]:
        how, *rest = words
        if how.text not in EDITS:
            fail(how.line, unknown(how.text, EDITS))
            return None
        wanted = 1 if how.text == REMOVE else 2
        if len(rest) != wanted:
            form = (
                "remove NAME"
                if wanted == 1
                else f"{how.text} NAME VALUE; a value with blanks stands in quotes"
            )
            fail(how.line, f"is written {form}")
            return None
        name = rest[0].text
        if not _TOKEN.fullmatch(name):
            fail(rest[0].line, f"{quoted(name)} is not the name of a field")
        elif name.lower() in _OURS or (name.lower() == "host" and not (self.of_requests and how.text == SET)):
            fail(rest[0].line, f"{name} is made by the proxy itself, for each message")
        elif wanted == 1:
            return EditSpec(how.text, name)
        elif not _VALUE.fullmatch(rest[1].text):
            fail(rest[1].line, f"{quoted(rest[1].text)} has a letter that no field has; ASCII does")
        else:
            try:
                return EditSpec(how.text, name, template(rest[1].text, OF_ALL))
            except Invalid as why:
                fail(rest[1].line, str(why))
        return None


OPTIONS = (
    Option(
        "redirect",
        Redirect(),
        "With `protocol = http`: the client is sent elsewhere, by this status. `{host}` is without the "
        "port, `{uri}` the path with the query, `{query}` the query alone. A request that is there already "
        "does not take the route, so nobody is sent in a circle by one.",
        "redirect = 301 https://{host}{uri}",
        otherwise="clients are not sent elsewhere",
    ),
    Option(
        "respond",
        Respond(),
        "With `protocol = http`: the client is answered at once, and no server is asked. What a file holds "
        "is called what its name says, by its end.",
        'respond = 403 "Not here."',
        otherwise="servers answer",
    ),
    Option(
        "rewrite",
        Rewrite(),
        "What the server is told that the path is. A path stands for another one with all that is below "
        "it; a regular expression sees the path as it leaves, with what escapes are needed. The query "
        "stays. Where a server names itself in an answer, in Location and Content-Location, the path there "
        "is led back; with `both_ways` also where there is no host or that of the client, and so are the "
        "paths of cookies: for servers that do not know under which path they are reached.",
        "rewrite = /v1 /api/v1",
        otherwise="the path stays",
    ),
    Option(
        "request_header",
        Edit(True),
        "What is changed in the fields of a request: `set` gives a field this value alone, `add` adds one, "
        "`remove` takes it away; in their order. The host that the server is asked for may be set, too, as "
        "`Host`.",
        "request_header = set X-Client {client}",
        otherwise="they stay",
        into="request_header",
    ),
    Option(
        "response_header",
        Edit(False),
        "The same of the answer, whoever has made it.",
        'response_header = set Strict-Transport-Security "max-age=31536000"',
        otherwise="they stay",
        into="response_header",
    ),
    *auth.OPTIONS,
    Option(
        "request_rate",
        Rate(),
        "With `protocol = http`: so many requests are let in here in that time, at once or one by one; "
        "others are answered 429 (`route_rate`).",
        "request_rate = 500/s",
        otherwise="no bound",
    ),
    Option(
        "request_rate_per_client",
        Rate(),
        "The same of each client, which is what `client_prefix4` and `client_prefix6` of the listener make "
        "it.",
        "request_rate_per_client = 20/s",
        otherwise="no bound",
    ),
    Option(
        "request_rate_per_path",
        Rate(),
        "The same of each path, whoever asks for it and with whatever query.",
        "request_rate_per_path = 100/s",
        otherwise="no bound",
    ),
    Option(
        "request_rate_per_header",
        Rate(),
        "The same of each value of the field of this name; all requests without it have one rate.",
        "request_rate_per_header X-Api-Key = 1000/1m",
        otherwise="no bound",
        named=True,
    ),
    Option(
        "max_concurrent_requests",
        Count(1, 1_000_000),
        "With `protocol = http`: so many requests may be under way here; others are answered 503 "
        "(`route_full`).",
        "max_concurrent_requests = 20",
        otherwise="no bound",
    ),
    Option(
        "max_body",
        Size(),
        "So long the body of a request may be, instead of what the listener says.",
        "max_body = 10M",
        otherwise="as the listener has it",
    ),
    Option(
        "response_timeout",
        Duration(),
        "So long the server may take until its answer begins, instead of what its pool says.",
        "response_timeout = 10m",
        otherwise="as the pool has it",
    ),
    Option(
        "retries",
        Count(0, 10),
        "So many other servers are tried, instead of what the pool says.",
        "retries = 0",
        otherwise="as the pool has it",
    ),
    Option(
        "cache",
        Reference("cache", (OFF,)),
        "Where answers are stored, instead of what the listener says; `off` is for nowhere.",
        "cache = pages",
        otherwise="as the listener has it",
    ),
    error_page("What clients are shown here, before what their listener has for that status."),
    compression.OPTION,
    static.OPTION,
)

ENDS = ("pool", "redirect", "respond", "root")

# What makes no difference where no server is asked.
_OF_SERVERS = ("rewrite", "request_header", "response_timeout", "retries", "cache", "compression")


def asked(given: dict[str, Any]) -> dict[str, Any]:
    """Take the values that an `ActionSpec` is made of out of those of a route."""
    found = {name: given.pop(name) for name in fields_dict(ActionSpec) if name in given}
    if "request_rate_per_header" in found:
        rates = found["request_rate_per_header"].items()
        found["request_rate_per_header"] = tuple((name.lower(), rate) for name, rate in rates)
    if "error_page" in found:
        found["error_page"] = tuple(found["error_page"].items())
    return found


def contradictions(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What does not go together in what a route does: each an option, and what is wrong with it."""
    yield from auth.contradictions(given)
    yield from errorpage.contradictions(given)
    for name in ("request_header", "response_header"):
        if "auth" not in given and any(USER in edit.value.names for edit in given.get(name, ())):
            yield name, f"{{{USER}}} is who has been let in by auth, and there is none"
    ends = [name for name in ENDS if name in given]
    for name in ends[1:]:
        yield name, f"cannot be beside {ends[0]}; a route does one of pool, redirect, respond and root"
    if ends and "pool" not in ends:
        for name in _OF_SERVERS:
            if name in given and not (name == "rewrite" and "root" in ends):
                yield name, f"is about a server, and with {ends[0]} none is asked"
