"""How does an agreement on TLS go, without a network, and with TLS that is only noted?"""

from __future__ import annotations

from typing import Callable, Sequence, Union

from proxyd.errors import DialFailed, Refused
from proxyd.wire.starttls.step import CLIENT, Agreement

Said = tuple[str, bytes]  # "client" or "server", and what it says, or is said to it
Done = Union[str, Said]

_MOST_STEPS = 1000  # one that takes nothing and is never done would go on for ever


class Play:
    """
    What came of an agreement: `log` has what was said to either side, and where TLS began.

    ``answers`` is a server that says something to whatever it is sent.
    """

    def __init__(self, agreement: Agreement, answers: Callable[[bytes], bytes] = lambda said: b"") -> None:
        self.agreement = agreement
        self.held = {"client": b"", "server": b""}
        self._done: list[Done] = []
        self.early = b""
        self.heard = b""
        self.end = ""
        self._answers = answers

    def __call__(self, side: str, data: bytes) -> list[Done]:
        """Let a side say something, and return what is done then."""
        before = len(self._done)
        self.held[side] += data
        self._go_on()
        return _merged(self._done[before:])

    @property
    def log(self) -> list[Done]:
        """What was done so far."""
        return _merged(self._done)

    def _go_on(self) -> None:
        for _ in range(_MOST_STEPS):
            if self.end:
                return
            try:
                step = self.agreement.step(self.held["client"], self.held["server"])
            except (Refused, DialFailed) as why:
                self.end = f"{why.reason.code}: {why.detail}"
                return
            if step is None:
                return
            self.held["client"] = self.held["client"][step.from_client :]
            self.held["server"] = self.held["server"][step.from_server :]
            self._done += [("client", step.to_client), ("server", step.to_server)]
            if step.to_server:
                self.held["server"] += self._answers(step.to_server)
            if step.tls:
                self._done.append(f"TLS {step.tls}")
                if step.tls == CLIENT:
                    assert step.early or not self.held["client"], "plaintext is left before TLS"
                    self.early, self.held["client"] = self.held["client"], b""
                else:
                    assert not self.held["server"], "plaintext is left before TLS"
            self.heard = self.heard or step.heard
            self.end = "joined" if step.joined else "over" if step.over else ""
        raise AssertionError("it goes round and round")

    def sent(self, side: str) -> bytes:
        """All that was said to a side."""
        return b"".join(said[1] for said in self.log if isinstance(said, tuple) and said[0] == side)

    def before_tls(self, side: str) -> bytes:
        """What was said to a side before TLS with the client began, or to the end."""
        said = b""
        for entry in self.log:
            if entry == f"TLS {CLIENT}":
                break
            if isinstance(entry, tuple) and entry[0] == side:
                said += entry[1]
        return said


def _merged(done: Sequence[Done]) -> list[Done]:
    """The same, with what was said to one side in a row as one, and nothing of what was empty."""
    merged: list[Done] = []
    for entry in done:
        last = merged[-1] if merged else ""
        if isinstance(entry, tuple) and not entry[1]:
            continue
        if isinstance(entry, tuple) and isinstance(last, tuple) and last[0] == entry[0]:
            merged[-1] = (last[0], last[1] + entry[1])
        else:
            merged.append(entry)
    return merged


def played(agreement: Agreement, script: Sequence[Said], piece: int = 0) -> Play:
    """An agreement after all of a script was said, each part as a whole or in pieces of so many bytes."""
    play = Play(agreement)
    for side, data in script:
        for place in range(0, len(data), piece or len(data) or 1):
            play(side, data[place : place + (piece or len(data))])
    return play
