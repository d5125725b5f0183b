"""Is a class of the operator's asked as it should be, and can it do the daemon no harm?"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Optional

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from proxyd.config.address import Addresses, TcpAddress
from proxyd.config.probes import PythonAsk
from proxyd.relay.stock import Stock
from proxyd.upkeep.probes.conversation import Call, Failed, Unable
from proxyd.upkeep.probes.python import faults, probe
from tests.support.case import Case
from tests.support.walltime import SetTime

ADDRESS = TcpAddress("10.0.0.1", 80)


class Base:
    """What each probe below is given."""

    def __init__(self, reactor: Any, address: Any, parameters: dict[str, str]) -> None:
        self.reactor = reactor
        self.address = address
        self.parameters = parameters


class Answers(Base):
    def probe(self) -> object:
        return {"none": None, "yes": True, "no": False, "text": "it is slow"}[self.parameters["answer"]]


class Raises(Base):
    def probe(self) -> None:
        what = {"error": ValueError("too long\n"), "mute": KeyError(), "exit": SystemExit("bye")}
        raise what[self.parameters["what"]]


class Waits(Base):
    waiting: Deferred[None]

    async def probe(self) -> str:
        Waits.waiting = Deferred()
        await Waits.waiting
        return f"{self.address} {type(self.reactor).__name__}"


class Stubborn(Base):
    async def probe(self) -> None:
        while True:
            try:
                await Deferred()
            except CancelledError:
                pass


class Wrong(Base):
    pass


class PythonTests(Case):
    def begin(self, kind: type[Any], **parameters: str) -> Deferred[str]:
        ask = PythonAsk(f"{__name__}.{kind.__name__}", tuple(parameters.items()))
        return Deferred.fromCoroutine(
            probe(Call(Clock(), SetTime(Clock().seconds), Stock(Clock()), ADDRESS), ask)
        )

    def assertFails(self, why: str, kind: type[Any], **parameters: str) -> None:
        self.assertEqual(str(self.failureResultOf(self.begin(kind, **parameters), Failed).value), why)

    def test_answers(self) -> None:
        """Nothing and True pass, False fails, and text is a remark about a server that passes."""
        for answer, remark in (("none", ""), ("yes", ""), ("text", "it is slow")):
            self.assertEqual(self.successResultOf(self.begin(Answers, answer=answer)), remark)
        self.assertFails("is not fit, says the probe", Answers, answer="no")

    def test_raises(self) -> None:
        """Whatever is raised is a failure, told by its text on one line, and the daemon goes on."""
        self.assertFails("too long\\n", Raises, what="error")
        self.assertFails("KeyError", Raises, what="mute")
        self.assertFails("bye", Raises, what="exit")
        self.assertFails("KeyError: 'answer'", Answers)

    def test_waits(self) -> None:
        """A probe may wait, and is given the address and the reactor."""
        outcome = self.begin(Waits)
        self.assertNoResult(outcome)
        Waits.waiting.callback(None)
        self.assertEqual(self.successResultOf(outcome), "10.0.0.1:80 Clock")

    def test_cancelled(self) -> None:
        """When its time is over it is cancelled; one that does not care is left alone."""
        for kind in (Waits, Stubborn):
            outcome = self.begin(kind)
            outcome.cancel()
            self.failureResultOf(outcome, CancelledError)

    def test_faults(self) -> None:
        """What cannot be imported, is not there, or is no probe is said before the daemon starts."""
        broken: Optional[ModuleType] = None
        self.patch(sys, "modules", {**sys.modules, "broken": broken})
        for path, why in (
            (f"{__name__}.Waits", []),
            ("no_such.C", ["no_such cannot be imported: ModuleNotFoundError: No module named 'no_such'"]),
            ("broken.C", ["broken cannot be imported: ModuleNotFoundError: import of broken halted; "
                          "None in sys.modules"]),
            (f"{__name__}.Nothing", [f"{__name__} has no Nothing"]),
            (f"{__name__}.Wrong", [f"{__name__}.Wrong is not a class with a method probe"]),
            (f"{__name__}.ADDRESS", [f"{__name__}.ADDRESS is not a class with a method probe"]),
        ):  # fmt: skip
            self.assertEqual(list(faults(PythonAsk(path))), why)

    def test_several_addresses(self) -> None:
        """Of several addresses of a server the class is given the first, not all as one that has no host."""
        addresses = Addresses((ADDRESS, TcpAddress("10.0.0.2", 80)))
        call = Call(Clock(), SetTime(Clock().seconds), Stock(Clock()), addresses)
        outcome = Deferred.fromCoroutine(probe(call, PythonAsk(f"{__name__}.Waits")))
        Waits.waiting.callback(None)
        self.assertEqual(self.successResultOf(outcome), "10.0.0.1:80 Clock")

    def test_vanished(self) -> None:
        """If it cannot be had later, that is no fault of the server."""
        call = Call(Clock(), SetTime(Clock().seconds), Stock(Clock()), ADDRESS)
        outcome = Deferred.fromCoroutine(probe(call, PythonAsk("no_such.C")))
        self.failureResultOf(outcome, Unable)
