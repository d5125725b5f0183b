"""Is Redis asked for what it does, and understood when it does not?"""

from __future__ import annotations

from proxyd.config.probes import RedisAsk
from proxyd.upkeep.probes import redis
from tests.upkeep.probes.stage import ProbeCase

PING = b"*1\r\n$4\r\nPING\r\n"
ROLE = b"*1\r\n$4\r\nROLE\r\n"


class RedisTests(ProbeCase):
    probe = redis.probe

    def test_ping(self) -> None:
        """A server that answers PING passes."""
        self.begin(RedisAsk())
        self.assertEqual(self.said(), PING)
        self.answer(b"+PONG\r\n")
        self.assertPassed()

    def test_greeting(self) -> None:
        """What the connection must begin with comes before the first command."""
        self.begin(RedisAsk(), greeting=b"PROXY UNKNOWN\r\n")
        self.assertEqual(self.said(), b"PROXY UNKNOWN\r\n" + PING)
        self.answer(b"+PONG\r\n")
        self.assertPassed()

    def test_login(self) -> None:
        """With a password it logs in first, as the default user or as another."""
        for ask, auth in (
            (RedisAsk(password="pw"), b"*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n"),
            (RedisAsk("me", "pw"), b"*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$2\r\npw\r\n"),
        ):
            self.begin(ask)
            self.assertEqual(self.said(), auth)
            self.answer(b"+OK\r\n")
            self.assertEqual(self.said(), PING)
            self.answer(b"+PONG\r\n")
            self.assertPassed()

    def test_role(self) -> None:
        """Only a server with the role that is asked for passes; a slave is called a replica."""
        master = b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
        slave = b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:14\r\n"
        for role, answer, why in (
            ("master", master, ""),
            ("replica", slave, ""),
            ("master", slave, "is replica, not master"),
            ("replica", master, "is master, not replica"),
            ("master", b"*1\r\n$8\r\nsentinel\r\n", "is sentinel, not master"),
            ("master", b"-ERR unknown command 'ROLE'\r\n", "answered -ERR unknown command 'ROLE' to ROLE"),
            ("master", b"*0\r\n", "answered () to ROLE"),
        ):
            self.begin(RedisAsk(role=role))
            self.answer(b"+PONG\r\n")
            self.assertEqual(self.said(), PING + ROLE)
            self.answer(answer)
            if why:
                self.assertFailed(why)
            else:
                self.assertPassed()

    def test_other_answers(self) -> None:
        """What it answers instead is what people are told."""
        for answer, why in (
            (b"-NOAUTH Authentication required.\r\n", "answered -NOAUTH Authentication required."),
            (b"-LOADING Redis is loading\n\r\n", "answered -LOADING Redis is loading\\n"),
            (b"+PENG\r\n", "answered +PENG"),
            (b"$4\r\nPONG\r\n", "answered PONG"),
            (b":1\r\n", "answered 1"),
            (b"HTTP/1.1 400 Bad Request\r\n", "b'HTTP/1.1 400 Bad Request', which is no reply of Redis"),
        ):
            self.begin(RedisAsk())
            self.said()
            self.answer(answer)
            self.assertFailed(why)

    def test_wrong_password(self) -> None:
        """A login that is refused fails, and nothing that is said of it has the password."""
        self.begin(RedisAsk(password="hunter2"))
        self.said()
        self.answer(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n")
        self.assertFailed("answered -WRONGPASS invalid username-password pair or user is disabled.")
        self.assertNotIn("hunter2", repr(RedisAsk(password="hunter2")))
