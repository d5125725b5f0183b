"""What is counted of clients, and what of those that go too far?  The ``[counters NAME]`` section."""

from __future__ import annotations

from typing import Any, ClassVar, Iterator, Mapping, Optional, Sequence

from attrs import frozen

from proxyd.config.limits import Rate, RateSpec
from proxyd.config.options import Choice, Count, Duration, Fail, Form, Option, unknown
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

SOURCE, SNI = "source", "sni"
KEYS = (SOURCE, SNI)

BAN, DENY, LOG = "ban", "deny", "log"
ACTIONS = (BAN, DENY, LOG)

OPEN = "open"
CONNECTIONS, RATE = "connections", "connection_rate"
ERRORS, PROTOCOL_ERRORS = "errors", "protocol_errors"
BYTES_IN, BYTES_OUT = "bytes_in", "bytes_out"
QUANTITIES = (OPEN, CONNECTIONS, RATE, ERRORS, PROTOCOL_ERRORS, BYTES_IN, BYTES_OUT)

_SIZES = {"k": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_LARGEST = 1 << 50


@frozen
class RuleSpec:
    """
    ``ban 10m when connection_rate > 100/10s``: what is done, and when.

    ``quantity`` must be more than ``most``, in the last ``window`` seconds, or with 0 for as long as the
    table remembers.  ``seconds`` is for how long a ban holds.
    """

    name: str
    action: str
    quantity: str
    most: int
    window: float = 0.0
    seconds: float = 0.0

    def __str__(self) -> str:
        """As it is written."""
        lasts = f" {self.seconds:g}s" if self.action == BAN else ""
        window = f"/{self.window:g}s" if self.window else ""
        return f"{self.action}{lasts} when {self.quantity} > {self.most}{window}"


@frozen
class CountersSpec:
    """One ``[counters]``: what entries are of, how many there are, and how long they are kept (seconds)."""

    name: str
    key: str = SOURCE
    size: int = 100_000
    ttl: float = 600.0
    prefix4: int = 32
    prefix6: int = 64
    rules: tuple[RuleSpec, ...] = ()


class Rule(Form):
    """``ban 10m when connection_rate > 100/10s``, without the name."""

    shape: ClassVar[str] = (
        "`ban DURATION`, `deny` or `log`, then `when`, what is counted, `>` and a number; with a time behind "
        "a slash, what was counted in that time. What is counted: "
        + ", ".join(f"`{one}`" for one in QUANTITIES)
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[RuleSpec]:
        left = list(words)
        action = left.pop(0)
        if action.text not in ACTIONS:
            fail(action.line, unknown(action.text, ACTIONS))
            return None
        seconds = 0.0
        try:
            if action.text == BAN:
                seconds = Duration().read(_next(left, action, "how long the ban holds, such as 10m"))
            _expect(_next(left, action, "when"), "when")
            quantity = _next(left, action, "what is counted")
            if quantity.text not in QUANTITIES:
                raise Invalid(unknown(quantity.text, QUANTITIES))
            _expect(_next(left, action, ">"), ">")
            most, window = _bound(_next(left, action, "a number"))
        except Invalid as why:
            fail(action.line, str(why))
            return None
        if left:
            fail(left[0].line, f"{quoted(left[0].text)} is one word too many; a rule has one condition")
        elif quantity.text == RATE and not window:
            fail(quantity.line, f"a rate is of a time; write {RATE} > {most}/10s, for example")
        elif quantity.text == OPEN and window:
            fail(quantity.line, f"{OPEN} is what is open now; write {OPEN} > {most}")
        else:
            return RuleSpec("", action.text, quantity.text, most, window, seconds)
        return None


def _next(left: list[Word], action: Word, what: str) -> Word:
    if not left:
        raise Invalid(f"ends too soon; {what} is missing")
    return left.pop(0)


def _expect(word: Word, text: str) -> None:
    if word.text != text:
        raise Invalid(f"{quoted(word.text)} stands where {quoted(text)} must be")


def _bound(word: Word) -> tuple[int, float]:
    """The number, and the time in which so many are too many, or 0."""
    number, slash, _ = word.text.partition("/")
    factor = _SIZES.get(number[-1:], 1)
    digits = number[:-1] if factor > 1 else number
    if not digits.isdecimal() or not digits.isascii() or len(digits) > 15:
        raise Invalid(f"{quoted(word.text)} is no number, such as 100, 10M or 100/10s")
    most = int(digits) * factor
    if most > _LARGEST:
        raise Invalid(f"{quoted(word.text)} is too large")
    if not slash:
        return most, 0.0
    rate: RateSpec = Rate().read(Word(f"1/{word.text.partition('/')[2]}", word.path, word.line))
    return most, rate.seconds


OPTIONS = (
    Option(
        "key",
        Choice(KEYS),
        "What there is an entry for: a client's address, or the name that clients ask for in TLS.",
        "key = sni",
        default=SOURCE,
    ),
    Option(
        "size",
        Count(1, 10_000_000),
        "So many entries are kept at most, each some 400 bytes and 100 for each rule with a time, and "
        "twice that while addresses are sprayed. For one more, the entry is forgotten that was used "
        "longest ago.",
        "size = 1000000",
        default="100000",
    ),
    Option(
        "ttl",
        Duration(),
        "An entry that was not used for so long is forgotten, and what was counted with it.",
        "ttl = 1h",
        default="10m",
    ),
    Option(
        "prefix4",
        Count(1, 32),
        "With `key = source`: IPv4 addresses that begin with the same bits, so many, share an entry.",
        "prefix4 = 24",
        default="32",
    ),
    Option(
        "prefix6",
        Count(1, 128),
        "The same of IPv6.",
        "prefix6 = 56",
        default="64",
    ),
    Option(
        "rule",
        Rule(),
        "What is done with a client when more was counted than that. `ban`: its network is banned for so "
        "long, at all listeners; `deny`: it is refused for as long as the condition holds (`rule_denied`); "
        "`log`: that is said in the log. `errors` are connections that ended by the client's fault, "
        "`protocol_errors` those that did not begin as they must.",
        "rule flood = ban 10m when connection_rate > 100/10s",
        otherwise="clients are counted, and nothing is done",
        named=True,
    ),
)


def contradictions(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Which values of a table do not go together: the option, and what is wrong with it."""
    if given.get("key") != SNI:
        return
    for option in ("prefix4", "prefix6"):
        if option in given:
            yield option, f"is of addresses, and key = {SNI} does not go by these"
    for name, rule in given.get("rule", {}).items():
        if rule.action == BAN:
            yield f"rule {name}", f"addresses are banned, and key = {SNI} knows none; write {DENY}"
