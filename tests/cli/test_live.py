"""Does an explanation begin with what the daemon says of its servers, and of the client?"""

from __future__ import annotations

import json
import os
import socket
import threading
from typing import Any

from tests.cli.shell import ShellCase

CONFIG = """
[proxyd]
admin = unix:admin.sock
[listener db]
bind = tcp:5432
pool = db
[pool db]
balance = leastconn
affinity = source
server a = 10.0.0.1:5432 max_connections=adaptive
server x = x.example.com:5432 resolve=all
"""

ROW = {
    "name": "a", "address": "10.0.0.1:5432", "state": "up", "weight": 1, "configured_weight": 1, "open": 0,
    "backup": False, "priority": 0, "max_connections": 0,
}  # fmt: skip


class LiveTests(ShellCase):
    config = CONFIG

    def explained(self, answers: dict[str, Any], *supposed: str) -> tuple[int, Any, str]:
        """What is explained when the daemon answers so, by commands; what it does not know it refuses."""
        config = self.write(self.config)
        path = os.path.join(os.path.dirname(config), "admin.sock")
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
        listening.listen(1)
        self.asked: list[Any] = []

        def serve() -> None:
            while True:
                client, _ = listening.accept()
                with client, client.makefile("rb") as lines:
                    line = lines.readline()
                    if not line:
                        return
                    request = json.loads(line)
                    self.asked.append(request)
                    result = answers.get(request["command"])
                    answer = {"result": result} if result is not None else {"error": "no", "code": "x"}
                    client.sendall(json.dumps(answer).encode() + b"\n")

        serving = threading.Thread(target=serve)
        serving.start()
        status, out, err = self.run_it("explain", config, "--live", "--json", *supposed)
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(path)
        serving.join()
        listening.close()
        os.unlink(path)
        return status, json.loads(out) if out else None, err

    def test_servers(self) -> None:
        """States, weights, bounds and open connections; servers that are addresses of a name, too."""
        several = {**ROW, "name": "x-10.0.0.7", "address": "10.0.0.7:5432,[::7]:5432", "backup": True}
        answers = {
            "show servers": {"servers": [{**ROW, "weight": 3, "open": 2, "max_connections": 2}, several]},
            "show pools": {
                "pools": [{"name": "web", "maintenance": "x"}, {"name": "db", "maintenance": None}]
            },
        }
        status, found, _ = self.explained(answers, "client=10.1.2.3")
        self.assertEqual(status, 0)
        self.assertEqual(self.asked[0], {"command": "show servers", "pool": "db"})
        self.assertEqual(self.asked[2], {"command": "show table", "table": "affinity/db", "key": "10.1.2.3"})
        self.assertEqual(
            [(row["server"], row["address"], row["weight"], row["open"]) for row in found["servers"]],
            [("a", "10.0.0.1:5432", 3.0, 2), ("x-10.0.0.7", "10.0.0.7:5432,[::7]:5432", 1.0, 0)],
        )
        self.assertIn("all servers have their max_connections", found["detail"])
        status, found, _ = self.explained(answers, "client=10.1.2.3", "down=a")
        self.assertEqual(found["chosen"], "x-10.0.0.7")

    def test_the_client(self) -> None:
        """The server that the daemon remembers of it, unless it is there no more; maintenance of the pool."""
        answers: dict[str, Any] = {
            "show servers": {"servers": [{**ROW, "open": 9}, {**ROW, "name": "b"}]},
            "show pools": {"pools": [{"name": "db", "maintenance": None}]},
        }
        for server, chosen in (("a", "a"), ("gone", "b")):
            answers["show table"] = {"rows": [{"client": "10.1.2.3", "server": server}]}
            self.assertEqual(self.explained(answers, "client=10.1.2.3")[1]["chosen"], chosen)
        found = self.explained(answers, "client=10.1.2.3", "remembered=b")[1]
        self.assertEqual((found["chosen"], len(self.asked)), ("b", 2))
        answers["show pools"] = {"pools": [{"name": "db", "maintenance": "by uid 0"}]}
        self.assertEqual(self.explained(answers, "client=10.1.2.3")[1]["reason"], "maintenance")

    def test_the_first_server(self) -> None:
        """A client that is led back gets its first server, if that may be chosen, or else the last one."""
        answers: dict[str, Any] = {
            "show servers": {"servers": [ROW, {**ROW, "name": "b", "open": 9}, {**ROW, "name": "c"}]},
            "show pools": {"pools": [{"name": "db", "maintenance": None}]},
            "show table": {"rows": [{"client": "10.1.2.3", "server": "c", "first": "b"}]},
        }
        self.config = CONFIG + "affinity_failback = yes\n"
        for supposed, chosen in (((), "b"), (("down=b",), "c"), (("down=b,c",), "a")):
            found = self.explained(answers, "client=10.1.2.3", *supposed)[1]
            self.assertEqual((found["chosen"], found["remembered"]), (chosen, "c"))
        answers["show table"] = {"rows": [{"client": "10.1.2.3", "server": "gone", "first": "b"}]}
        self.assertEqual(self.explained(answers, "client=10.1.2.3")[1]["chosen"], "b")

    def test_another_configuration(self) -> None:
        """A daemon that does not have the pool says so."""
        self.assertEqual(self.explained({}, "client=10.1.2.3")[::2], (1, "proxyctl: no\n"))
