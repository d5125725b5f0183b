"""
What do the tests of names ask?

`Zone` is a name service in memory, whose answers a test changes; `tests.contracts.test_names` holds it to
what the real one answers.
"""

from __future__ import annotations

from proxyd.policy.names import Answer, Service, Services


class Zone:
    """A name service that knows ``hosts`` and ``targets``; while it has ``trouble`` nothing can be learnt."""

    def __init__(self, ttl: float = 60.0) -> None:
        self.hosts: dict[str, tuple[str, ...]] = {}
        self.targets: dict[str, tuple[Service, ...]] = {}
        self.ttl = ttl
        self.trouble = ""
        self.asked: list[str] = []

    async def host(self, name: str) -> Answer:
        self.asked.append(name)
        if self.trouble:
            return Answer(trouble=self.trouble)
        addresses = self.hosts.get(name, ())
        if not addresses:
            return Answer((), (), trouble="there is no such name, or it has no address")
        v4 = tuple(address for address in addresses if ":" not in address)
        return Answer(v4, tuple(address for address in addresses if address not in v4), self.ttl)

    async def services(self, name: str) -> Services:
        self.asked.append(name)
        if self.trouble:
            return Services(trouble=self.trouble)
        targets = self.targets.get(name, ())
        if not targets:
            return Services((), trouble="there is no such name, or it has no SRV record that can be used")
        return Services(targets, self.ttl)
