"""
What do we say to a client ourselves?

A status, a sentence, and nothing about servers; for people, since programs go by the status.
"""

from __future__ import annotations

import time
from functools import lru_cache

from proxyd.relay.refusal import RETRY_AFTER

TEXTS = {
    400: ("Bad Request", "The request could not be understood."),
    408: ("Request Timeout", "The request was not complete in time."),
    413: ("Content Too Large", "The request is too large."),
    414: ("URI Too Long", "The address is too long."),
    417: ("Expectation Failed", "What the request expects cannot be met."),
    431: ("Request Header Fields Too Large", "The head of the request is too large."),
    501: ("Not Implemented", "What the request asks for is not supported."),
    502: ("Bad Gateway", "The server gave no valid answer."),
    503: ("Service Unavailable", "The server cannot answer now; please try again soon."),
    504: ("Gateway Timeout", "The server did not answer in time."),
    505: ("HTTP Version Not Supported", "This version of HTTP is not supported."),
}


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


def date(seconds: float) -> bytes:
    """The line of the field Date at a time since the epoch (RFC 9110, 5.6.7)."""
    return _date_line(int(seconds))


def page(status: int, closes: bool, seconds: float, without_body: bool = False) -> bytes:
    """A whole answer with this status; ``without_body`` is for a HEAD."""
    reason, sentence = TEXTS[status]
    body = (
        f"<!DOCTYPE html>\n<title>{status} {reason}</title>\n<h1>{reason}</h1>\n<p>{sentence}</p>\n".encode()
    )
    head = f"HTTP/1.1 {status} {reason}\r\n".encode() + date(seconds)
    head += b"Content-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\n"
    if status == 503:
        head += b"Retry-After: %d\r\n" % RETRY_AFTER
    if closes:
        head += b"Connection: close\r\n"
    head += b"Content-Length: %d\r\n\r\n" % len(body)
    return head if without_body else head + body
