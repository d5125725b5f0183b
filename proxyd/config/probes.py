"""
What can a check ask of a server?

Each kind of ``check =`` is a frozen value with what the operator asked, made of the kind's own parameters.
"""

from __future__ import annotations

from typing import Any, Callable, Iterator, Mapping

from attrs import field, frozen

from proxyd.config.options import Choice, Option, Secret, Text, Variant


@frozen
class TcpAsk:
    """Whether a connection can be made."""


@frozen
class RedisAsk:
    """Whether Redis answers PING, and as which ``role``, master or replica, if that is not empty."""

    user: str = ""
    password: str = field(default="", repr=False)
    role: str = ""


@frozen
class Kind:
    """
    A kind of check: the value made of its parameters, and what is written about it.

    ``contradictions`` says of the values given which parameter does not go with the others, and why.
    """

    ask: Callable[..., Any]
    doc: str
    parameters: tuple[Option, ...] = ()
    contradictions: Callable[[Mapping[str, Any]], Iterator[str]] = lambda given: iter(())


def _user_needs_password(given: Mapping[str, Any]) -> Iterator[str]:
    if "user" in given and "password" not in given:
        yield "user needs a password; write password=${PROBE_PASSWORD}, for example"


KINDS = {
    "tcp": Kind(TcpAsk, "A connection is made and closed. A process that is stopped passes it as well."),
    "redis": Kind(
        RedisAsk,
        "`PING` must be answered with `PONG`.",
        (
            Option(
                "user",
                Text(),
                "Log in as this user (Redis 6 and later).",
                "user=probe",
                otherwise="the user `default`",
            ),
            Option(
                "password",
                Secret(),
                "Log in with `AUTH` first.",
                "password=${PROBE_PASSWORD}",
                otherwise="no login",
            ),
            Option(
                "role",
                Choice(("master", "replica")),
                "A server with another role (`ROLE`) fails.",
                "role=master",
                otherwise="any role",
            ),
        ),
        _user_needs_password,
    ),
}

VARIANTS = tuple(Variant(name, kind.doc, kind.parameters) for name, kind in KINDS.items())
