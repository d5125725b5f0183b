"""
Which route would this request take, why no other, and what comes of it?

It is sent through the real routes (`proxyd.policy.httproute`).  Why one does not fit is found by asking for
each of its conditions alone.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Iterator, Optional, Sequence

from attrs import evolve, fields, frozen

from proxyd.config.action import CLIENT, LISTENER, ROUTE, USER, ActionSpec
from proxyd.config.affinity import COOKIE
from proxyd.config.condition import PATTERN_SIGN, ConditionSpec, Values
from proxyd.config.http import KEEP
from proxyd.config.listener import ListenerSpec
from proxyd.config.lists import Clients, shown
from proxyd.config.pool import PoolSpec
from proxyd.config.route import RouteSpec
from proxyd.errors import Malformed, Reason
from proxyd.policy.action import Rewriter, fill, location, words_of
from proxyd.policy.asked import Asked
from proxyd.policy.cookie import Sealed
from proxyd.policy.httproute import HttpRoutes, Undecided
from proxyd.policy.lists import Lists
from proxyd.policy.requestkey import request_key
from proxyd.wire.cookie import sent
from proxyd.wire.http1 import Memory, parse_request
from proxyd.wire.httpfields import Lines, Unacceptable, parse_field

OF_TLS = ("sni", "alpn")

_NOUNS = {"header": "header", "query": "parameter", "cookie": "cookie"}


@frozen
class SupposedRequest:
    """
    A request: its parts as they would be sent, and whether by TLS; ``fields`` are lines without their ends.
    """

    method: bytes = b"GET"
    host: bytes = b""
    target: bytes = b"/"
    fields: tuple[bytes, ...] = ()
    secure: bool = False
    sni: str = ""
    alpn: tuple[bytes, ...] = ()


def supposed_request(
    method: str, host: str, target: str, fields: Sequence[str] = (), secure: bool = False
) -> SupposedRequest:
    """A request with these parts, which is heard as the daemon would hear it.  Raises `Malformed`."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields, "", ""]
    request = parse_request("\r\n".join(lines).encode(), Memory(Lines()))
    if request is None:
        raise Malformed("it does not end")
    return SupposedRequest(
        request.method, request.host, request.target, tuple(map(str.encode, fields)), secure
    )


def server_of(spec: PoolSpec, request: SupposedRequest, secret: bytes) -> str:
    """The server of the pool that the cookie in a request leads to; "" if it was not sealed with this."""
    if not secret or spec.affinity is None or spec.affinity.key != COOKIE or spec.affinity.cookie is None:
        return ""
    sealed = Sealed(secret, spec.name)
    name = spec.affinity.cookie.name.encode()
    mark = sealed.open(next(sent(map(parse_field, request.fields), name), b""))
    return next((server.name for server in spec.servers if mark and sealed.mark(server.name) == mark), "")


def key_in(spec: PoolSpec, request: SupposedRequest) -> bytes:
    """What a request has for the key of the pool's hash, b"" for nothing."""
    key_of = request_key(spec.balance.key)
    fields = [parse_field(line) for line in request.fields]
    return key_of(request.host, request.target, fields) if key_of is not None else b""


@frozen
class Led:
    """
    Where a request is led: of each route its name, its pool, whether it is taken, and why or why not.

    ``actions`` is what is done with it, in words.  One that gets no server has a ``reason``, if that is no
    answer that its route has for it.
    """

    opening: str
    routes: tuple[tuple[str, str, bool, str], ...] = ()
    pool: str = ""
    actions: tuple[str, ...] = ()
    reason: Optional[Reason] = None
    detail: str = ""


def led(listener: ListenerSpec, lists: Lists, request: SupposedRequest, client: bytes) -> Led:
    """Where a request of a client (`proxyd.policy.lists.client_bytes`) is led."""
    slashes = listener.http.encoded_slashes == KEEP
    routes = HttpRoutes(listener.routes, lists, slashes)
    opening = (
        f"it asks {_text(request.host) or 'no host'} for {_text(request.method)} {_text(request.target)}"
    )
    lines = [parse_field(line) for line in request.fields]
    try:
        target = routes.target(request.target)
        asked = Asked(
            request.method,
            request.host,
            target,
            lines,
            client,
            request.secure,
            False,
            request.sni,
            request.alpn,
        )
        if target.path != request.target.partition(b"?")[0]:
            opening += f", which is {_text(target.path)}"
        taken = routes.choose(asked)
        spec = taken.spec if taken is not None else None
        steps = tuple(
            (each.name, each.pool, each is spec, _why(each, spec, lists, asked)) for each in listener.routes
        )
        actions = tuple(_actions(spec, asked, slashes, listener.name)) if spec is not None else ()
    except Unacceptable as wrong:
        return Led(opening, reason=Reason.REQUEST_MALFORMED, detail=str(wrong))
    except (Undecided, TimeoutError) as why:
        return Led(opening, reason=Reason.ROUTE_UNDECIDED, detail=str(why))
    pool = spec.pool if spec is not None else listener.pool
    root = listener.http.root
    if spec is None and root is not None:
        return Led(opening, steps, actions=(f"{_text(target.path)} of {root.path} is the answer",))
    if spec is None and not pool:
        detail = "no route fits, and the listener has no pool"
        return Led(opening, steps, reason=Reason.NO_ROUTE, detail=detail)
    return Led(opening, steps, pool, actions)


def _why(spec: RouteSpec, taken: Optional[RouteSpec], lists: Lists, asked: Asked) -> str:
    if spec is taken:
        return "all its conditions hold"
    unmet = []
    bare = evolve(spec, sni=(), alpn=(), condition=ConditionSpec(), action=ActionSpec())
    for name in (*OF_TLS, *(field.name for field in fields(ConditionSpec))):
        wanted = getattr(spec if name in OF_TLS else spec.condition, name)
        own = {name: wanted} if name in OF_TLS else {"condition": ConditionSpec(**{name: wanted})}
        if HttpRoutes([evolve(bare, **own)], lists).choose(asked) is None:
            unmet.append(f"{_shown(name, wanted)}, and {_has(name, wanted, asked)}")
    if unmet:
        return "; ".join(unmet)
    if taken is not None and spec.action.redirect is None:
        return f"fits, but {taken.name} stands before it"
    return "it would lead where the request already is"


def _shown(name: str, wanted: Any) -> str:
    """A condition as it is written."""
    if isinstance(wanted, Clients):
        return f"{name} = {' '.join(shown(wanted))}"
    if name in _NOUNS:
        return "; ".join(f"{name} {key} = {' '.join(_values(values))}" for key, values in wanted)
    return f"{name} = {' '.join(_text(word) if isinstance(word, bytes) else word for word in wanted)}"


def _values(values: Values) -> Iterator[str]:
    if values.anything:
        yield "*"
    yield from (text or "''" for text in values.texts)
    yield from (PATTERN_SIGN + pattern for pattern in values.patterns)


def _has(name: str, wanted: Any, asked: Asked) -> str:
    """What the request has instead."""
    if name == "host":
        return f"the host is {_text(asked.host)}" if asked.host else "no host is named"
    if name == "method":
        return f"the method is {_text(asked.method)}"
    if name == "sni":
        return f"the client asks TLS for {asked.sni or 'no name'}"
    if name == "alpn":
        return f"TLS is for {' '.join(map(_text, asked.alpn)) or 'no protocol'}"
    if name == "client":
        return "the client is another"
    if name in _NOUNS:
        get = {"header": asked.values, "query": asked.parameters, "cookie": asked.cookies}[name]
        found = [f"{key} is {' and '.join(get(key)) or 'not there'}" for key, _ in wanted]
        return f"{_NOUNS[name]} {', '.join(found)}"
    return f"the path is {asked.path}"


def _actions(spec: RouteSpec, asked: Asked, slashes: bool, listener: str) -> Iterator[str]:
    """What its route does with it, in the order in which it is done."""
    action = spec.action
    if action.auth is not None:
        yield f"a user of {action.auth.path} must give a password; else 401"
    if action.forward_auth is not None:
        yield f"{action.forward_auth.url} is asked, and must say yes"
    if action.redirect is not None:
        yield f"the client is sent to {location(action.redirect, asked)}, by {action.redirect.status}"
    elif action.respond is not None:
        yield f"the client is answered {action.respond.status}"
    target = asked.target
    if action.rewrite is not None:
        target = Rewriter(action.rewrite).rewrite(target, slashes)
    if action.root is not None:
        yield f"{_text(target.path)} of {action.root.path} is the answer"
    if spec.pool:
        yield f"the server is asked for {_text(target.whole)}"
    client = str(ipaddress.ip_address(asked.client)) if asked.client else ""
    # Nobody can be supposed to have given a password.
    known = {**words_of(asked), CLIENT: client, LISTENER: listener, ROUTE: spec.name, USER: f"{{{USER}}}"}
    for kind, edits in (("request", action.request_header), ("answer", action.response_header)):
        for edit in edits:
            yield f"in the {kind}: {edit.how} {edit.name} {fill(edit.value, known)}".rstrip()


def _text(data: bytes) -> str:
    return data.decode("ascii", "backslashreplace")
