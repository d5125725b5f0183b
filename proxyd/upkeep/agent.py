"""
What does the agent of a server tell?

It is asked again and again, beside the checks, and in maintenance too, since it alone can end what it began.
What cannot be understood, and that it does not answer at all, changes nothing, and is said once.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Protocol, Union

from proxyd.config.address import named
from proxyd.config.agent import AgentSpec
from proxyd.interfaces import IDatapath
from proxyd.policy.health import Looks
from proxyd.policy.server import Server
from proxyd.policy.state import State
from proxyd.snapshots import CheckSnapshot
from proxyd.upkeep.periodic import Periodic
from proxyd.upkeep.probes.asking import Asking
from proxyd.upkeep.probes.conversation import Call, Failed, Unable, shown
from proxyd.upkeep.spaced import Spaced
from proxyd.walltime import WallTime
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
        wall: WallTime,
        clock: Spaced,
        random: Callable[[], float],
        datapath: IDatapath,
        told: Told,
        spec: AgentSpec,
    ) -> None:
        self.periodic = Periodic(clock, random, spec.interval, self._run)
        self._reactor = reactor
        self._wall = wall
        self._clock = clock
        self._datapath = datapath
        self._told = told
        self._spec = spec
        self._trouble = ""
        self._looks = Looks()
        self._began = 0.0  # the last look

    def snapshot(self, state: State) -> CheckSnapshot:
        """What it has told, and what state that makes of the server."""
        server = self._told.server
        return self._looks.snapshot(
            self._clock.seconds(),
            pool=server.pool,
            server=server.name,
            check="",
            kind="agent",
            address=str(self._spec.target(server.address)),
            state=state.value,
            next_seconds=self.periodic.next_seconds,
            rests="its name has not resolved yet" if self._lost else "",
        )

    @property
    def _lost(self) -> bool:
        """Whether nobody knows yet where the server is."""
        return self._spec.address is None and named(self._told.server.address)

    def _run(self) -> Optional[Asking[Report]]:
        if self._lost:
            return None
        server = self._told.server
        tcp = server.tcp.for_checks if server.tcp is not None else None
        call = Call(self._reactor, self._wall, self._datapath, self._spec.target(server.address), tcp)
        self._began = self._clock.seconds()
        return Asking(self._clock, call, self._ask(call), self._spec.timeout, self._learn)

    def _learn(self, told: Union[Report, Failed, Unable]) -> None:
        if not self.periodic.running:
            return  # cut short by our own stop
        if isinstance(told, (Failed, Unable)):
            trouble = f"its agent tells nothing: {told}"
            self._looks.failed += isinstance(told, Failed)
            self._looks.unable += isinstance(told, Unable)
            self._looks.note(str(told), self._began, self._clock.seconds())
        else:
            trouble = self._told.told(told)
            self._looks.passed += 1
            text = f" ({shown(told.text)})" if told.text else ""
            but = f"; {trouble}" if trouble else ""
            self._looks.note(f"{told}{text}{but}", self._began, self._clock.seconds())
        if trouble and trouble != self._trouble:
            self._told.say("stays {state}: {trouble}", warn=True, trouble=trouble)
        self._trouble = trouble

    async def _ask(self, call: Call) -> Report:
        async with call.connect() as talk:
            if self._spec.send is not None:
                talk.say(self._spec.send.data)
            return await talk.hear(agent.report, "line of the agent")
