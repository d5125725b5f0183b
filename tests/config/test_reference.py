"""Does docs/options.md say of each option what the code does with it?"""

from __future__ import annotations

import os
from typing import Any, Iterator

import attrs

from proxyd.config import http, reference
from proxyd.config.affinity import SEALED, AffinitySpec, CookieSpec
from proxyd.config.agent import AgentSpec
from proxyd.config.auth import BasicSpec, ForwardSpec
from proxyd.config.balance import BalanceSpec
from proxyd.config.compression import CompressionSpec
from proxyd.config.daemon import AccessLogSpec, DaemonSpec
from proxyd.config.document import KINDS
from proxyd.config.ejection import EjectSpec
from proxyd.config.health import CheckSpec
from proxyd.config.http import HttpSpec
from proxyd.config.listener import ListenerSpec
from proxyd.config.options import Choice, Flag, OneWord, Option
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.probes import KINDS as ASKS
from proxyd.config.queue import QueueSpec
from proxyd.config.reader import Word
from proxyd.config.refusal import RefuseSpec
from proxyd.config.resolvers import ResolversSpec
from proxyd.config.retries import BudgetSpec
from proxyd.config.route import RouteSpec
from proxyd.config.servertls import ServerTlsSpec
from proxyd.config.static import StaticSpec
from proxyd.config.tcp import LISTENER_OPTIONS, SERVER_OPTIONS, TcpSpec
from proxyd.config.tls import TlsSpec
from proxyd.config.words import split
from tests.support.case import Case

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SPECS = {"proxyd": DaemonSpec, "listener": ListenerSpec, "pool": PoolSpec, "route": RouteSpec}
PARAMETER_SPECS = {
    "retry_budget": BudgetSpec,
    "affinity": AffinitySpec,
    "compression": CompressionSpec,
    "root": StaticSpec,
    "balance": BalanceSpec,
    "agent_check": AgentSpec,
    "check": CheckSpec,
    "queue": QueueSpec,
    "eject": EjectSpec,
    "refuse": RefuseSpec,
    "server": ServerSpec,
    "auth": BasicSpec,
    "forward_auth": ForwardSpec,
    "access_log": AccessLogSpec,
    "resolvers": ResolversSpec,
    "tls": TlsSpec,
    "pool tls": ServerTlsSpec,
}


def documented() -> Iterator[tuple[Any, Option]]:
    """Every option and parameter that has a default, with the value that holds what is given for it."""
    for name, spec in SPECS.items():
        for option in KINDS[name].options:
            if option in (*LISTENER_OPTIONS, *SERVER_OPTIONS):
                yield TcpSpec, option
            else:
                yield HttpSpec if option in http.OPTIONS else spec, option
            for parameter in option.form.parameters:
                if parameter in SEALED:
                    yield CookieSpec, parameter
                    continue
                parameters = PARAMETER_SPECS.get(option.name, spec)
                yield PARAMETER_SPECS.get(f"{name} {option.name}", parameters), parameter
            for variant in option.form.variants:
                for parameter in variant.parameters:
                    yield ASKS[variant.name].ask, parameter


class ReferenceTests(Case):
    def parse(self, option: Option, text: str) -> Any:
        words = [Word(word, "/etc/proxyd/proxy.ini", 1) for word in split(text, {"PROBE_PASSWORD": "secret"})]
        faults: list[str] = []
        value = option.form.parse(words, lambda line, why: faults.append(why))
        self.assertEqual(faults, [], option.name)
        return value

    def test_up_to_date(self) -> None:
        """The page is what the tables print; print it again after a change of them."""
        with open(os.path.join(ROOT, "docs", "options.md"), encoding="utf-8") as file:
            self.assertEqual(file.read(), reference.render())

    def test_every_option_once(self) -> None:
        """The page has each option once in each section that takes it."""
        page = reference.render()
        for kind in KINDS.values():
            for option in kind.options:
                title = f"### {option.title}\n"
                times = sum(option in other.options for other in KINDS.values())
                self.assertEqual(page.count(title + f"\n{option.doc}\n"), times, option.name)
        for option in KINDS["proxyd"].inherited:
            self.assertIn(option, KINDS["listener"].options)

    def test_defaults(self) -> None:
        """The default that the page names is the one that holds when nothing is given."""
        seen = 0
        for spec, option in documented():
            if option.default:
                held = attrs.fields_dict(spec)[option.name].default
                self.assertEqual(self.parse(option, option.default), held, option.name)
                seen += 1
            else:
                self.assertTrue(option.required or option.otherwise, option.name)
        self.assertGreaterEqual(seen, 12)

    def test_examples(self) -> None:
        """Each example can be used as it stands, and is not the default (unless there is only that)."""
        for _, option in documented():
            name, equals, text = option.example.partition("=")
            self.assertEqual(name.split()[0], option.name)
            if isinstance(option.form, Flag):
                self.assertEqual((name, equals), (option.name, ""))
                continue
            if not option.optional_name:
                self.assertEqual(bool(option.named), len(name.split()) == 2)
            value = self.parse(option, text)
            if option.default and not (isinstance(option.form, Choice) and len(option.form.names) == 1):
                self.assertNotEqual(value, self.parse(option, option.default), option.name)

    def test_parameters_are_single_words(self) -> None:
        """A parameter is ``name=value`` or a flag; the way it is read knows nothing else."""
        for kind in KINDS.values():
            for option in kind.options:
                for parameter in option.form.parameters:
                    self.assertIsInstance(parameter.form, (OneWord, Flag))
                    self.assertFalse(parameter.named or parameter.required)
                for variant in option.form.variants:
                    for parameter in variant.parameters:
                        self.assertIsInstance(parameter.form, (OneWord, Flag))
                        self.assertFalse(parameter.named)
