"""
What do we say to a client ourselves?

A status, a sentence, and nothing about servers; for people, since programs go by the status.  Or what a route
has for it.
"""

from __future__ import annotations

import time
from functools import lru_cache
from http import HTTPStatus
from typing import Callable, Optional, Sequence

from attrs import frozen

from proxyd.relay.refusal import RETRY_AFTER
from proxyd.wire.httpfields import Field, parse_field

TEXTS = {
    301: ("Moved Permanently", "What you ask for is elsewhere."),
    302: ("Found", "What you ask for is elsewhere now."),
    303: ("See Other", "The answer is elsewhere."),
    307: ("Temporary Redirect", "What you ask for is elsewhere now."),
    308: ("Permanent Redirect", "What you ask for is elsewhere."),
    400: ("Bad Request", "The request could not be understood."),
    401: ("Unauthorized", "Who you are must be known here."),
    403: ("Forbidden", "You may not have what you ask for."),
    404: ("Not Found", "There is nothing here."),
    408: ("Request Timeout", "The request was not complete in time."),
    413: ("Content Too Large", "The request is too large."),
    414: ("URI Too Long", "The address is too long."),
    417: ("Expectation Failed", "What the request expects cannot be met."),
    429: ("Too Many Requests", "Too many requests have come; please try again soon."),
    431: ("Request Header Fields Too Large", "The head of the request is too large."),
    500: ("Internal Server Error", "The request could not be dealt with."),
    501: ("Not Implemented", "What the request asks for is not supported."),
    502: ("Bad Gateway", "The server gave no valid answer."),
    503: ("Service Unavailable", "The server cannot answer now; please try again soon."),
    504: ("Gateway Timeout", "The server did not answer in time."),
    505: ("HTTP Version Not Supported", "This version of HTTP is not supported."),
}

_LATER = (429, 503)

_BODILESS = (204, 205, 304)  # RFC 9110, 15.3.5, 15.3.6, 15.4.5

Edit = Callable[[Sequence[Field]], list[Field]]


@frozen
class Words:
    """
    What is said instead of a page, and what that is; ``fields`` are lines, without their ends, beside it.

    ``retry_after`` are seconds, if they are others than usual.
    """

    body: Optional[bytes] = None
    content_type: str = ""
    fields: tuple[bytes, ...] = ()
    retry_after: int = RETRY_AFTER


PAGE = Words()


@lru_cache(maxsize=4)
def _date_line(second: int) -> bytes:
    # Not strftime's names of days and months, which are the locale's.
    at = time.gmtime(second)
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[at.tm_wday]
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[
        at.tm_mon - 1
    ]
    text = f"Date: {day}, {at.tm_mday:02d} {month} {at.tm_year:04d} {time.strftime('%H:%M:%S', at)} GMT\r\n"
    return text.encode("ascii")


def date(wall: float) -> bytes:
    """The line of the field Date at a wall time (RFC 9110, 5.6.7)."""
    return _date_line(int(wall))


def page(
    status: int,
    closes: bool,
    wall: float,
    without_body: bool = False,
    words: Words = PAGE,
    edit: Optional[Edit] = None,
) -> bytes:
    """
    A whole answer with this status; ``without_body`` is for a HEAD.

    ``words`` are what it says if not what such an answer says; ``edit`` changes its fields.
    """
    reason, sentence = told(status)
    body, kind = words.body, words.content_type
    if body is None:
        kind = "text/html; charset=utf-8"
        text = f"<!DOCTYPE html>\n<title>{status} {reason}</title>\n<h1>{reason}</h1>\n<p>{sentence}</p>\n"
        body = text.encode()
    fields = [parse_field(line) for line in words.fields]
    if status in _BODILESS:
        body = b""
    else:
        fields.append(parse_field(b"Content-Type: " + kind.encode("ascii")))
    if words.body is None and status not in (301, 308):
        fields.append(parse_field(b"Cache-Control: no-store"))
    if status in _LATER:
        fields.append(parse_field(b"Retry-After: %d" % words.retry_after))
    if edit is not None:
        fields = edit(fields)
    head = f"HTTP/1.1 {status} {reason}\r\n".encode() + date(wall) + b"".join(field[2] for field in fields)
    if closes:
        head += b"Connection: close\r\n"
    if status not in (204, 304):
        head += b"Content-Length: %d\r\n" % len(body)
    head += b"\r\n"
    return head if without_body else head + body


def told(status: int) -> tuple[str, str]:
    """What a status is called, and our sentence for it."""
    try:
        return TEXTS.get(status) or (HTTPStatus(status).phrase, "")
    except ValueError:
        return "", ""
