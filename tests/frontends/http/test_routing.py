"""Has a listener's routing what its routes need?"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from proxyd.config.action import OF_ALL, REMOVE, SET, ActionSpec, EditSpec, RespondSpec
from proxyd.config.auth import BasicSpec, ForwardSpec
from proxyd.config.listener import ListenerSpec
from proxyd.config.route import RouteSpec
from proxyd.config.template import template
from proxyd.frontends.http.auth import Basic
from proxyd.frontends.http.forwardauth import Forward
from proxyd.frontends.http.routing import Routing
from proxyd.policy.lists import Lists
from proxyd.policy.routelimits import RouteLimits
from tests.config.ini import IniCase


class RoutingTests(IniCase):
    def routing(self, *actions: ActionSpec) -> Routing:
        routes = tuple(RouteSpec(f"r{n}", ("l",), action=action) for n, action in enumerate(actions))
        spec = ListenerSpec("l", (), protocol="http", routes=routes)
        limits = {route.name: RouteLimits(route) for route in routes}
        return Routing(spec, {}, Lists(()), limits, Clock(), lambda work: Deferred())

    def test_files(self) -> None:
        """What clients are answered with is read before they come; what cannot be is told of, all of it."""
        there, gone = self.write(b"<p>\0", "sorry.html"), f"{self.folder}/gone"
        routing = self.routing(
            ActionSpec(respond=RespondSpec(503, None, there, "text/html")),
            ActionSpec(respond=RespondSpec(200, None, gone)),
            ActionSpec(respond=RespondSpec(200, "text")),
            ActionSpec(auth=BasicSpec(gone)),
        )
        self.assertEqual(
            [self.local(line) for line in routing.load()],
            ["gone: cannot be read: No such file or directory"] * 2,
        )
        words = [course.words.body for course in routing.courses]
        self.assertEqual((words[0], words[2]), (b"<p>\0", b"text\n"))

    def test_auth(self) -> None:
        """Each route has who decides there."""
        routing = self.routing(
            ActionSpec(auth=BasicSpec("/x")), ActionSpec(forward_auth=ForwardSpec("http://a/")), ActionSpec()
        )
        basic, forward, none = [course.auth for course in routing.courses]
        self.assertIsInstance(basic, Basic)
        self.assertIsInstance(forward, Forward)
        self.assertIs(none, None)

    def test_made_anew(self) -> None:
        """It is known which fields servers get that are others for another client."""
        edits = [
            EditSpec(how, name, template(value, OF_ALL))
            for how, name, value in (
                (SET, "X-Client", "{client}"),
                (SET, "X-Fixed", "a"),
                (REMOVE, "X-Gone", ""),
            )
        ]
        routing = self.routing(
            ActionSpec(request_header=tuple(edits), forward_auth=ForwardSpec("http://a/", copy=("x-user",))),
            ActionSpec(),
        )
        made = [course.made_anew for course in routing.courses]
        self.assertEqual(made, [{b"x-client", b"x-user"}, set()])
        sets = [course.sets for course in routing.courses]
        self.assertEqual(sets, [{b"x-client", b"x-fixed", b"x-user"}, set()])

    def test_clients(self) -> None:
        """A client is to the limits what the listener makes it."""
        routing = self.routing(ActionSpec())
        one, other = bytes(15) + b"\1", bytes(15) + b"\2"
        self.assertEqual(routing.key_of(one), routing.key_of(other))
        self.assertNotEqual(routing.key_of(b"\1\2\3\4"), routing.key_of(b"\1\2\3\5"))
