"""
Does a class of the operator's find that the server works?

It is made with the reactor, the address and the parameters, for each check anew, and its method ``probe``
is called, which may be an ``async def`` or return a Deferred.  Whatever it raises fails the server.
"""

from __future__ import annotations

import importlib
from typing import Any, Iterator

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred

from proxyd.config.probes import PythonAsk
from proxyd.upkeep.probes.conversation import Call, Failed, Unable, shown


def faults(ask: PythonAsk) -> Iterator[str]:
    """Why the class cannot be used, if it cannot; to find out is to import it."""
    try:
        _load(ask.probe)
    except Unable as why:
        yield str(why)


# Faults of the class itself, whose text alone says little: of a KeyError it is the key.
_OF_CODE = (ArithmeticError, AttributeError, LookupError, NameError, TypeError)


async def probe(call: Call, ask: PythonAsk) -> str:
    """Pass unless it raises something, or returns False; a text that it returns is a remark."""
    kind = _load(ask.probe)
    call.awaited = "end of the probe"

    def begin() -> Any:
        return kind(call.reactor, call.place, dict(ask.parameters)).probe()

    running = maybeDeferred(begin)
    # A probe that does not end when it is cancelled is left behind, and not waited for.
    outcome: Deferred[Any] = Deferred(lambda _: running.cancel())
    running.addCallbacks(outcome.callback, outcome.errback)
    try:
        found = await outcome
    except (CancelledError, Failed, Unable):
        raise
    except BaseException as failed:  # noqa: BLE001
        text = str(failed)
        if not text or isinstance(failed, _OF_CODE):
            text = f"{type(failed).__name__}: {text}".rstrip(": ")
        raise Failed(shown(text.encode("utf-8", "backslashreplace"))) from None
    if found is False:
        raise Failed("is not fit, says the probe")
    return found if isinstance(found, str) else ""


def _load(path: str) -> Any:
    """The class.  Raises `Unable`."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as failed:  # noqa: BLE001
        raise Unable(f"{module} cannot be imported: {type(failed).__name__}: {failed}") from None
    if found is None:
        raise Unable(f"{module} has no {name}")
    if not isinstance(found, type) or not callable(getattr(found, "probe", None)):
        raise Unable(f"{path} is not a class with a method probe")
    return found
