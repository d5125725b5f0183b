"""Is ``[proxyd]`` taken for what an operator means by it?"""

from __future__ import annotations

import os

from proxyd.config.address import TcpBind, UnixBind
from proxyd.config.daemon import AccessLogSpec, DaemonSpec
from tests.config.ini import MINIMAL, IniCase


class DaemonTests(IniCase):
    def daemon(self, options: str) -> DaemonSpec:
        return self.load(f"{MINIMAL}[proxyd]\n{options}").daemon

    def test_defaults(self) -> None:
        """Without the section, or with an empty one, everything has its default."""
        self.assertEqual(self.load(MINIMAL).daemon, DaemonSpec(drain_timeout=30, max_connections=0))
        self.assertEqual(self.daemon(""), DaemonSpec(drain_timeout=30, max_connections=0))

    def test_all_given(self) -> None:
        """Each option is taken as it is written."""
        self.assertEqual(
            self.daemon(
                "access_log = /a.log\nadmin = unix:/a.sock:mode=660\nmetrics = tcp:9:interface=127.0.0.1\n"
                "drain_timeout = 0s\nmax_connections = 5\n"
            ),
            DaemonSpec(
                access_log=AccessLogSpec("/a.log", "text"),
                admin=UnixBind("unix:/a.sock:mode=660", "/a.sock", 0o660),
                metrics=TcpBind("tcp:9:interface=127.0.0.1", "127.0.0.1", 9),
                drain_timeout=0,
                max_connections=5,
            ),
        )

    def test_access_log(self) -> None:
        """A path is relative to the ini file's folder; twistd is no path, but ./twistd is one."""
        for value, path, form in [
            ("twistd", "", "text"),
            ("twistd format=json", "", "json"),
            ("/var/log/a.log format=text", "/var/log/a.log", "text"),
            ("'my logs/a.log'", os.path.join(self.folder, "my logs", "a.log"), "text"),
            ("./twistd", os.path.join(self.folder, "twistd"), "text"),
            ("../a.log", os.path.join(os.path.dirname(self.folder), "a.log"), "text"),
        ]:
            self.assertEqual(self.daemon(f"access_log = {value}\n").access_log, AccessLogSpec(path, form))

    def test_path_in_an_included_file(self) -> None:
        """A path is relative to the file that it stands in."""
        self.write("[proxyd]\naccess_log = a.log\n", "conf.d/log.ini")
        log = self.load(f"{MINIMAL}include = conf.d/log.ini\n").daemon.access_log
        self.assertEqual(log, AccessLogSpec(os.path.join(self.folder, "conf.d", "a.log")))

    def test_admin(self) -> None:
        """The admin socket is the daemon's own user's and root's, unless a mode says otherwise."""
        admin = self.daemon("admin = unix:admin.sock\n").admin
        self.assertEqual(admin, UnixBind("unix:admin.sock", os.path.join(self.folder, "admin.sock"), 0o600))

    def test_refused(self) -> None:
        """A value that cannot be used is refused with what would be right."""
        for options, problem in [
            (
                "access_log = a format=xml",
                'access_log: format: "xml" is not known; known here: text, json, combined',
            ),
            (
                "access_log = format=json",
                "access_log: begins with the path of a file, or with twistd for the log of twistd",
            ),
            (
                "access_log = logs/",
                "access_log: begins with the path of a file, or with twistd for the log of twistd",
            ),
            ("metrics = tcp:1 tcp:2", 'metrics: takes one value, and "tcp:2" is a second'),
            (
                "admin = tcp:9000",
                'admin: "tcp:9000" is not a unix socket; write unix:/run/name.sock, for example',
            ),
            (
                "admin = /run/admin.sock",
                'admin: "/run/admin.sock" is not a unix socket; write unix:/run/name.sock, for example',
            ),
            (
                "admin = unix:a.sock:mode=9",
                'admin: "unix:a.sock:mode=9": "9" is not a file mode; write mode=660, for example',
            ),
            ("admin = unix:a unix:b", 'admin: takes one value, and "unix:b" is a second'),
            ("max_connections = 0", 'max_connections: "0" is not a whole number, 1 to 10000000'),
            ("bind = tcp:1", '"bind" is not known; known here: access_log, admin, metrics, drain_timeout, '
             "max_connections, max_bans, shed, state, resolvers, protocol, idle_timeout, "
             "half_closed_timeout, ..."),
        ]:  # fmt: skip
            self.assertEqual(
                self.problems(f"{MINIMAL}[proxyd]\n{options}\n"), [f"proxy.ini:7: [proxyd] {problem}"]
            )
