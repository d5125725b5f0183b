"""Which ways to spread connections can an operator name?  The rules are in `proxyd.policy.balance`."""

from __future__ import annotations

BALANCES = ("roundrobin", "random", "p2c")
