"""How are clients turned away?  The ``refuse =`` and ``speaks =`` of a listener."""

from __future__ import annotations

from typing import ClassVar, Optional, Sequence

from attrs import evolve, frozen

from proxyd.config.options import Choice, Count, Duration, Fail, Form, Option, parameters, unknown
from proxyd.config.reader import Word

SPOKEN = ("pgsql", "mysql", "redis", "smtp", "imap", "ftp", "http", "tls")  # as `proxyd.wire.refusal` says it

CLOSE, RESET, DROP, TARPIT = "close", "reset", "drop", "tarpit"
WAYS = (CLOSE, RESET, DROP, TARPIT)


@frozen
class RefuseSpec:
    """How a client is turned away; ``hold`` (seconds) and ``most`` (sockets) are for the tarpit."""

    how: str = CLOSE
    hold: float = 30.0
    most: int = 500


class Refuse(Form):
    """``tarpit hold=1m most=200``, or a word alone."""

    parameters: ClassVar[tuple[Option, ...]] = (
        Option(
            "hold",
            Duration(),
            "With `tarpit`, so long a client is kept waiting.",
            "hold=2m",
            default="30s",
        ),
        Option(
            "most",
            Count(1, 100_000),
            "With `tarpit`, so many are kept at a time, each with a descriptor; the others are reset.",
            "most=2000",
            default="500",
        ),
    )

    @property
    def shape(self) -> str:  # type: ignore[override]
        return f"{Choice(WAYS).shape}, the last with any of the parameters below"

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[RefuseSpec]:
        first, *rest = words
        if first.text not in WAYS:
            fail(first.line, unknown(first.text, WAYS))
            return None
        if rest and first.text != TARPIT:
            fail(rest[0].line, f"{first.text} takes no parameters; they are for {TARPIT}")
            return None
        values = parameters(rest, self.parameters, fail)
        return None if values is None else evolve(RefuseSpec(first.text), **values)
