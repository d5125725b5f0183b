"""
What does the head of a request or of an answer say, and how long is what follows?

RFC 9112, HTTP/1.0 and 1.1, and of RFC 9110 what a proxy must know.  `parse_request` and `parse_answer` are
asked with all bytes so far, and return the head, or None for "more"; the head says how many bytes it took.
What two readers could understand in two ways is not understood at all: `Unacceptable` has the status for
the client.  So there is exactly one way in which a message ends, and exactly one host that it is for.  What
leaves is made of the parts (`Request.fields`, `Answer.fields`) and never the bytes as they came.

All of it ends the same, however the bytes are cut: a line feed alone is an error as soon as it is there,
everything else is looked for when the head is complete, or longer than it may be.
"""

from __future__ import annotations

import re
from typing import Optional

from proxyd.wire.httpfields import (
    CONNECTION,
    CONTENT_LENGTH,
    END_TO_END,
    EXPECT,
    FORGED,
    HOST,
    KEEP_ALIVE,
    TE,
    TOKEN,
    TRANSFER_ENCODING,
    UPGRADE,
    Field,
    Lines,
    Unacceptable,
    show,
    tokens,
)

HEAD_BYTES = 16 * 1024  # nginx has 4 times 8k, HAProxy 15 KiB
FIELDS = 100  # HAProxy has 101
REMEMBERED_BYTES = 2048  # of the head that was last on a connection
LONGEST_METHOD = 32  # a longer one is none that anybody implements (RFC 9112, 3)

# How long a body is, if it is not so many bytes.
CHUNKED = -1
UNTIL_CLOSE = -2

_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x22\x24-\x7e]+) HTTP/1\.([01])").fullmatch
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?").fullmatch
_AUTHORITY = re.compile(
    rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?"
).fullmatch
_TIMEOUT = re.compile(rb"\btimeout[ \t]*=[ \t]*([0-9]{1,6})\b", re.IGNORECASE).search  # RFC 2068, 19.7.1.1
_LENGTH = re.compile(rb"[0-9]{1,18}").fullmatch

SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
IDEMPOTENT = SAFE | {b"PUT", b"DELETE"}  # RFC 9110, 9.2.2; TRACE is not passed on

_WITHOUT_BODY = SAFE | {b"DELETE"}  # RFC 9110, 9.3: what a body means is not defined

# A tunnel, and what shows a page the cookies that it may not see: nothing for a reverse proxy.
_NOT_IMPLEMENTED = frozenset({b"CONNECT", b"TRACE"})

_NEVER_STRIPPED = frozenset({b"host", b"content-length", b"transfer-encoding"})

_NO_NAMES: frozenset[bytes] = frozenset()

# What nearly all say, and what no field is called by.
_KNOWN_CONNECTIONS = {
    word: frozenset([word.lower()])
    for word in (b"keep-alive", b"Keep-Alive", b"close", b"Close", b"Upgrade", b"upgrade")
}

_SINGLE = {
    HOST: ("Host", "9112 3.2"),
    CONTENT_LENGTH: ("Content-Length", "9112 6.3"),
    TRANSFER_ENCODING: ("Transfer-Encoding", "9112 6.1"),
}


class Said:
    """
    What the fields of a head say.

    ``fields`` are those that are passed on, as `proxyd.wire.httpfields` has them, and what else is for who
    passes it on to decide (`FORWARDED`, `VIA` …).  ``length`` is that of the body in bytes, `CHUNKED` or
    `UNTIL_CLOSE`, ``declared`` what Content-Length says, also where no body follows; ``minor`` that of the
    version.  ``persistent`` says whether its sender wants to go on afterwards, ``upgrade`` what it wants to
    go on with, ``named`` are the fields that are meant for us alone.

    Of an answer, ``patience`` is for how many seconds its server keeps an idle connection, if that is said.
    Of a request, ``host`` is who it is for, None if that is not said; ``expects`` whether its client waits
    for 100, ``trailers`` whether it takes some.  ``rendered``, and ``rendered_last`` for the last head of a
    connection, are whose who passes it on.
    """

    __slots__ = (
        "declared",
        "expects",
        "fields",
        "host",
        "length",
        "minor",
        "named",
        "patience",
        "persistent",
        "rendered",
        "rendered_last",
        "trailers",
        "upgrade",
    )

    def __init__(self, minor: int) -> None:
        self.minor = minor
        self.fields: list[Field] = []
        self.length = 0
        self.declared: Optional[int] = None
        self.persistent = minor == 1
        self.patience: Optional[int] = None
        self.upgrade = b""
        self.named = _NO_NAMES
        self.host: Optional[bytes] = None
        self.expects = False
        self.trailers = False
        self.rendered: Optional[bytes] = None
        self.rendered_last: Optional[bytes] = None


class Request:
    """
    A request: ``target`` is in origin-form, or ``*``, and ``took`` is how many bytes the head is long.

    ``host`` is b"" if a client of HTTP/1.0 has named none; it is not among the fields.  ``rendered`` is whose
    who passes it on.
    """

    __slots__ = ("host", "method", "rendered", "said", "target", "took")

    def __init__(self, method: bytes, target: bytes, host: bytes, said: Said, took: int) -> None:
        self.method = method
        self.target = target
        self.host = host
        self.said = said
        self.took = took
        self.rendered: Optional[bytes] = None


def may_be_skipped(request: Request, let_come: bool = False) -> bool:
    """
    Whether servers are known to answer without having read its body, and to take that for the next request.

    They should not (RFC 9110, 9.3 and 10.1.1), but some do, where the method has no use for a body, or
    where they need not have let it come; with ``let_come`` this one has (100), so it waits for it.
    """
    said = request.said
    return said.length != 0 and ((said.expects and not let_come) or request.method in _WITHOUT_BODY)


class Answer:
    """An answer."""

    __slots__ = ("reason", "said", "status", "took")

    def __init__(self, status: int, reason: bytes, said: Said, took: int) -> None:
        self.status = status
        self.reason = reason
        self.said = said
        self.took = took


class Memory:
    """
    What was said last on a connection: who asks again says mostly the same, and then it is not read again.

    ``lines`` are shared by all connections.
    """

    __slots__ = ("answer", "asked", "head", "lines", "of_head", "request", "said", "tail")

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.asked = b""  # a whole request without a body
        self.request: Optional[Request] = None  # which that is
        self.tail = b""  # of a request's head, from the version on
        self.said: Optional[Said] = None  # in this
        self.head = b""  # of an answer
        self.answer: Optional[Answer] = None  # in this
        self.of_head = False  # to a HEAD

    def is_shared(self, request: Request) -> bool:
        """Whether it is the last one, whole, and has nothing in it that is not known of others, too."""
        return request is self.request and self.lines.heads.get(self.tail) is request.said


def parse_request(
    data: bytes, memory: Memory, most: int = HEAD_BYTES, fields: int = FIELDS
) -> Optional[Request]:
    """
    The request at the beginning of these bytes, or None if more must come.  Raises `Unacceptable`.

    One empty line before it is passed over (RFC 9112, 2.2).
    """
    if data == memory.asked:
        return memory.request
    begin = 2 if data[:2] == b"\r\n" else 0
    end = data.find(b"\r\n\r\n", begin)
    if end < 0 or end - begin + 4 > most:
        _incomplete(data, begin, end, most, 414)
        return None
    line_end = data.find(b"\r\n", begin)
    tail = data[max(begin, line_end - 3) : end]
    said = memory.said if tail == memory.tail else _said_elsewhere(tail, memory)
    lines: list[bytes] = []
    if said is None:
        lines = data[line_end + 2 : end].split(b"\r\n") if line_end < end else lines
        if data.count(b"\n", begin, end) != len(lines):
            raise Unacceptable(400, "a bare LF", "9112 2.2")
    line = data[begin:line_end]
    match = _REQUEST_LINE(line)
    if match is None:
        raise _wrong_request_line(line)
    method: bytes = match.group(1)
    if method in _NOT_IMPLEMENTED or len(method) > LONGEST_METHOD:
        raise Unacceptable(501, f"method {show(method)}", "9110 9.1")
    if said is None:
        if len(lines) > fields:
            raise Unacceptable(431, f"more than {fields} fields", "6585 5")
        said = _read_request(lines, memory.lines, 1 if match.group(3) == b"1" else 0)
        if len(tail) <= REMEMBERED_BYTES:
            memory.tail, memory.said = tail, said
            memory.lines.remember(tail, lines, said)
    target: bytes = match.group(2)
    host = said.host
    if target[:1] != b"/":
        target, host = _place(method, target, host)
    if host is None:
        if said.minor:
            raise Unacceptable(400, "no Host", "9112 3.2")
        host = b""
    request = Request(method, target, host, said, end + 4)
    if request.took == len(data) <= REMEMBERED_BYTES:
        memory.asked, memory.request = data, request
    return request


def _said_elsewhere(tail: bytes, memory: Memory) -> Optional[Said]:
    """What the same head has said on another connection, if it is remembered."""
    known = memory.lines.heads.get(tail)
    if known is not None:
        memory.tail, memory.said = tail, known
    return known


def _read_request(lines: list[bytes], known: Lines, minor: int) -> Said:
    said = Said(minor)
    ours = _gather(said, lines, known)
    said.host = ours.get(HOST)
    if said.host is not None and _AUTHORITY(said.host) is None:
        raise Unacceptable(400, f"Host: {show(said.host)}", "9112 3.2")
    length, coding = ours.get(CONTENT_LENGTH), ours.get(TRANSFER_ENCODING)
    if coding is not None:
        _only_chunked(said, coding, length, 501)
        said.length = CHUNKED
    elif length is not None:
        said.length = said.declared = _number(length)
    if CONNECTION in ours:
        _connect(said, ours[CONNECTION])
    if UPGRADE in ours:
        _upgrade(said, ours[UPGRADE])
    if EXPECT in ours:
        if ours[EXPECT].lower() != b"100-continue":
            raise Unacceptable(417, f"Expect: {show(ours[EXPECT])}", "9110 10.1.1")
        said.expects = said.minor == 1 and said.length != 0  # else there is nothing to wait with
    if TE in ours:
        said.trailers = b"trailers" in (tokens(ours[TE]) or ())
    return said


def _gather(said: Said, lines: list[bytes], known: Lines) -> dict[int, bytes]:
    """Put what is passed on into the fields, and return what is ours, by its kind."""
    remembered = known.fields
    kept = said.fields
    ours: dict[int, bytes] = {}
    for line in lines:
        field = remembered.get(line)
        if field is None:
            field = known.field(line)
        kind = field[3]
        if kind == END_TO_END or kind > FORGED:
            kept.append(field)
        elif kind == FORGED:
            _judge_forged(field)
        elif kind not in ours:
            ours[kind] = field[1]
        elif kind in _SINGLE:
            name, section = _SINGLE[kind]
            raise Unacceptable(400, f"two {name} fields", section)
        else:
            ours[kind] += b"," + field[1]  # RFC 9110, 5.3
    return ours


def _judge_forged(field: Field) -> None:
    """What could be taken for the framing is refused, what could be taken for another field is left out."""
    if field[0].replace(b"_", b"-") in _NEVER_STRIPPED:
        raise Unacceptable(400, f"{show(field[0])}, which some take for another field", "9110 5.1")


def _place(method: bytes, target: bytes, host: Optional[bytes]) -> tuple[bytes, Optional[bytes]]:
    """The target in origin-form, or ``*``, and the host, of a request whose target is not in origin-form."""
    if target == b"*":
        if method != b"OPTIONS":
            raise Unacceptable(400, "the target * of another method than OPTIONS", "9112 3.2.4")
        return target, host
    authority, target = _absolute(target, method)
    if host is not None and host.lower() != authority.lower():
        raise Unacceptable(400, "a Host that is not that of the target", "9112 3.2.2")
    return target, authority


def _absolute(target: bytes, method: bytes) -> tuple[bytes, bytes]:
    """The authority of a target in absolute-form, and the rest in origin-form."""
    scheme, colon, rest = target.partition(b"://")
    if not colon or scheme.lower() not in (b"http", b"https"):
        raise Unacceptable(400, f"target {show(target)}", "9112 3.2")
    ends = [place for place in (rest.find(b"/"), rest.find(b"?")) if place >= 0]
    end = min(ends, default=len(rest))
    authority, path = rest[:end], rest[end:]
    if _AUTHORITY(authority) is None:  # nor is there a user in it (RFC 9110, 4.2.4)
        raise Unacceptable(400, f"target {show(target)}", "9112 3.2.2")
    if not path:
        path = b"*" if method == b"OPTIONS" else b"/"
    elif path[:1] == b"?":
        path = b"/" + path
    return authority, path


def _only_chunked(said: Said, coding: bytes, length: Optional[bytes], unknown: int) -> None:
    """``unknown`` is the status for codings that we cannot take off, where chunked is behind them."""
    if length is not None:
        raise Unacceptable(400, "Content-Length and Transfer-Encoding", "9112 6.1")
    if said.minor == 0:
        raise Unacceptable(400, "Transfer-Encoding in HTTP/1.0", "9112 6.1")
    if coding.lower() == b"chunked":
        return
    codings = tokens(coding)
    if codings and codings[-1] == b"chunked" and codings.count(b"chunked") == 1 and len(codings) > 1:
        raise Unacceptable(unknown, f"Transfer-Encoding: {show(coding)}", "9112 6.1")
    raise Unacceptable(400, f"Transfer-Encoding: {show(coding)}", "9112 6.3")


def _number(length: bytes) -> int:
    if _LENGTH(length) is None:
        raise Unacceptable(400, f"Content-Length: {show(length)}", "9110 8.6")
    return int(length)


def _connect(said: Said, value: bytes) -> None:
    """What the field Connection says, and which fields it names; these go no further (RFC 9110, 7.6.1)."""
    named = _KNOWN_CONNECTIONS.get(value)
    if named is None:
        found = tokens(value)
        if found is None or not _NEVER_STRIPPED.isdisjoint(found):
            raise Unacceptable(400, f"Connection: {show(value)}", "9110 7.6.1")
        named = frozenset(found)
        if any(field[0] in named for field in said.fields):
            said.fields = [field for field in said.fields if field[0] not in named]
    said.named = named
    if b"close" in named:
        said.persistent = False
    elif b"keep-alive" in named:
        said.persistent = True


def _upgrade(said: Said, value: bytes) -> None:
    """
    What else it would like to speak.

    HTTP/2 is not, because whoever passes that on passes on requests that nobody has looked at; and not behind
    a body.
    """
    if b"upgrade" in said.named and said.minor == 1 and said.length == 0:
        wanted = [each.strip(b" \t") for each in value.split(b",")]
        said.upgrade = b", ".join(
            each for each in wanted if each and not each.lower().startswith((b"h2", b"http/", b"tls/"))
        )


def parse_answer(
    data: bytes, memory: Memory, method: bytes = b"GET", most: int = HEAD_BYTES, fields: int = FIELDS
) -> Optional[Answer]:
    """
    The answer to a request of this method at the beginning of these bytes, or None if more must come.

    Raises `Unacceptable`; the status is 502 to the client, whatever it says.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0 or end + 4 > most:
        _incomplete(data, 0, end, most, 431)
        return None
    head = data[:end]
    of_head = method == b"HEAD"
    if head == memory.head and of_head == memory.of_head:
        return memory.answer
    line, _, rest = head.partition(b"\r\n")
    lines = rest.split(b"\r\n") if rest else []
    if head.count(b"\n") != head.count(b"\r\n"):
        raise Unacceptable(502, "a bare LF", "9112 2.2")
    match = _STATUS_LINE(line)
    if match is None:
        raise Unacceptable(502, f"status line {show(line)}", "9112 4")
    if len(lines) > fields:
        raise Unacceptable(502, f"more than {fields} fields", "6585 5")
    said = Said(1 if match.group(1) == b"1" else 0)
    answer = Answer(int(match.group(2)), match.group(3) or b"", said, end + 4)
    _read_answer(answer, said, _gather(said, lines, memory.lines), of_head)
    if end <= REMEMBERED_BYTES:
        memory.head, memory.of_head, memory.answer = head, of_head, answer
    return answer


def _read_answer(answer: Answer, said: Said, ours: dict[int, bytes], of_head: bool) -> None:
    length, coding = ours.get(CONTENT_LENGTH), ours.get(TRANSFER_ENCODING)
    if length is not None:
        said.declared = _number(length)
    if coding is not None:
        _only_chunked(said, coding, length, 502)
    status = answer.status
    if status < 200 or status == 204:
        if coding is not None or said.declared:
            raise Unacceptable(502, f"a body of an answer {status}", "9110 8.6")
        said.declared = None
    elif status != 304 and not of_head:
        if coding is not None:
            said.length = CHUNKED
        else:
            said.length = said.declared if said.declared is not None else UNTIL_CLOSE
    if CONNECTION in ours:
        _connect(said, ours[CONNECTION])
    if UPGRADE in ours and b"upgrade" in said.named:
        said.upgrade = ours[UPGRADE]
    if KEEP_ALIVE in ours:
        timeout = _TIMEOUT(ours[KEEP_ALIVE])
        said.patience = int(timeout.group(1)) if timeout is not None else None
    if said.length == UNTIL_CLOSE:
        said.persistent = False


def _incomplete(data: bytes, begin: int, end: int, most: int, long_line: int) -> None:
    """See whether what is there may still become a head.  Raises `Unacceptable`."""
    stop = begin + most if end < 0 or end - begin + 4 > most else end
    stop = min(stop, len(data))
    if data.count(b"\n", begin, stop) != data.count(b"\r\n", begin, stop):
        raise Unacceptable(400, "a bare LF", "9112 2.2")
    if stop - begin >= most:
        if data.find(b"\r\n", begin, stop) < 0:
            raise Unacceptable(long_line, f"a first line of more than {most} bytes", "9112 3")
        raise Unacceptable(431, f"a head of more than {most} bytes", "6585 5")


def _wrong_request_line(line: bytes) -> Unacceptable:
    if b"\n" in line:
        return Unacceptable(400, "a bare LF", "9112 2.2")
    parts = line.split(b" ")
    if len(parts) == 3 and re.fullmatch(TOKEN, parts[0]) is not None:
        if re.fullmatch(rb"HTTP/[0-9]\.[0-9]", parts[2]) is not None:
            if not parts[2].startswith((b"HTTP/1.0", b"HTTP/1.1")):
                return Unacceptable(505, f"version {show(parts[2])}", "9110 2.5")
            return Unacceptable(400, f"target {show(parts[1])}", "9112 3.2")
    return Unacceptable(400, f"request line {show(line)}", "9112 3")
