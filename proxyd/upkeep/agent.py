"""
What does the agent of a server tell?

It is asked again and again, beside the checks, and in maintenance too, since it alone can end what it began.
What cannot be understood, and that it does not answer at all, changes nothing, and is said once.
"""

from __future__ import annotations

from typing import Any, Callable, Protocol

from proxyd.config.address import named
from proxyd.config.agent import AgentSpec
from proxyd.interfaces import IDatapath
from proxyd.policy.server import Server
from proxyd.upkeep.periodic import Periodic
from proxyd.upkeep.probes.asking import Asking
from proxyd.upkeep.probes.conversation import Call, Failed, Unable
from proxyd.upkeep.spaced import Spaced
from proxyd.wire import agent
from proxyd.wire.agent import Report


class Told(Protocol):
    """Who wants to know what the agent of a server tells."""

    server: Server

    def told(self, report: Report) -> str:
        """Heed a report; what could not be done is returned, for people."""

    def say(self, text: str, warn: bool = False, **values: Any) -> None:
        """Log a line about the server."""


class Agent:
    """The agent of one server, asked as ``periodic`` has it."""

    def __init__(
        self,
        reactor: Any,
        clock: Spaced,
        random: Callable[[], float],
        datapath: IDatapath,
        told: Told,
        spec: AgentSpec,
    ) -> None:
        self.periodic = Periodic(clock, random, spec.interval, self._run)
        self._reactor = reactor
        self._clock = clock
        self._datapath = datapath
        self._told = told
        self._spec = spec
        self._trouble = ""

    async def _run(self) -> None:
        if self._spec.address is None and named(self._told.server.address):
            return  # nobody knows yet where the server is
        server = self._told.server
        tcp = server.tcp.for_checks if server.tcp is not None else None
        call = Call(self._reactor, self._datapath, self._spec.target(server.address), tcp)
        told = await Asking(self._clock, call, self._ask(call), self._spec.timeout)
        if not isinstance(told, (Failed, Unable)):
            trouble = self._told.told(told)
        elif self.periodic.running:
            trouble = f"its agent tells nothing: {told}"
        else:
            return  # cut short by our own stop
        if trouble and trouble != self._trouble:
            self._told.say("stays {state}: {trouble}", warn=True, trouble=trouble)
        self._trouble = trouble

    async def _ask(self, call: Call) -> Report:
        async with call.connect() as talk:
            if self._spec.send is not None:
                talk.say(self._spec.send.data)
            return await talk.hear(agent.report, "line of the agent")
