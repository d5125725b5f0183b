"""Do PostgreSQL's, MariaDB's and Redis's own clients notice that the daemon is between?"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any

from tests.support.daemon import Daemon, DaemonCase
from tests.support.services import mariadb, postgres_program, postgresql, redis
from tests.support.stage import Place, program

ROWS = 60_000


class PostgreSql(DaemonCase):
    """psql and pgbench."""

    async def psql(self, place: Place, sql: str, **how: Any) -> bytes:
        return await self.stage.check(
            postgres_program("psql"), "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1",
            "-h", place.host, "-p", str(place.port), "-U", "postgres", "-c", sql, **how,
        )  # fmt: skip

    async def test_copy(self) -> None:
        """A table of some MB copied out and in again is the same, beside and through the daemon."""
        server = await postgresql(self.stage)
        daemon = await self.relay(server.place)
        await self.psql(
            daemon.front,
            "CREATE TABLE one AS SELECT n, md5(n::text) AS a, repeat(md5((n+1)::text), 2) AS b"
            f" FROM generate_series(1, {ROWS}) n; CREATE TABLE two (LIKE one)",
        )
        through = await self.psql(daemon.front, "COPY one TO STDOUT")
        self.assertGreater(len(through), ROWS * 100)
        self.assertEqual(through, await self.psql(server.place, "COPY one TO STDOUT"))
        await self.psql(daemon.front, "COPY two FROM STDIN", feed=through)
        self.assertEqual(through, await self.psql(server.place, "COPY two TO STDOUT"))

    async def test_pgbench(self) -> None:
        """pgbench with eight clients and prepared statements fails no transaction."""
        server = await postgresql(self.stage)
        daemon = await self.relay(server.place)
        where = ["-h", daemon.front.host, "-p", str(daemon.front.port), "-U", "postgres", "postgres"]
        await self.stage.check(postgres_program("pgbench"), "-i", "-q", "-s", "1", *where)
        out = await self.stage.check(
            postgres_program("pgbench"), "-n", "-c", "8", "-T", "2", "-M", "prepared", *where
        )
        self.assertIn(b"number of failed transactions: 0 ", out)
        counted = re.search(rb"transactions actually processed: (\d+)", out)
        assert counted is not None, out
        self.assertEqual(
            await self.psql(server.place, "SELECT count(*) FROM pgbench_history"), counted[1] + b"\n"
        )


class MariaDb(DaemonCase):
    """MariaDB's clients; the server speaks first."""

    def command(self, name: str, place: Place, *arguments: str) -> list[str]:
        return [
            program(name, "mariadb-client"), "--no-defaults", "--protocol=tcp", f"--host={place.host}",
            f"--port={place.port}", "--user=probe", "--password=secret", *arguments,
        ]  # fmt: skip

    async def test_queries_and_dump(self) -> None:
        """Queries are answered, and what is dumped and restored through the daemon is the same."""
        server = await mariadb(self.stage)
        daemon = await self.relay(server.place)
        made = await self.stage.check(
            *self.command("mariadb", daemon.front, "-N", "test"),
            feed=b"CREATE TABLE one (n INT PRIMARY KEY, a CHAR(64)) ENGINE=InnoDB;"
            b"INSERT INTO one SELECT seq, SHA2(seq, 256) FROM seq_1_to_30000;"
            b"SELECT COUNT(*), MAX(n) FROM one;",
        )
        self.assertEqual(made, b"30000\t30000\n")
        dump = ("--skip-comments", "--no-tablespaces", "--quick", "test")
        through = await self.stage.check(*self.command("mariadb-dump", daemon.front, *dump))
        self.assertGreater(len(through), 30000 * 64)
        self.assertEqual(through, await self.stage.check(*self.command("mariadb-dump", server.place, *dump)))
        await self.stage.check(*self.command("mariadb", daemon.front, "test"), feed=through)
        again = await self.stage.check(*self.command("mariadb-dump", server.place, *dump))
        self.assertEqual(through, again)

    async def test_wrong_password(self) -> None:
        """The server's refusal reaches the client in the server's own words."""
        server = await mariadb(self.stage)
        daemon = await self.relay(server.place)
        finished = await self.stage.run(
            *self.command("mariadb", daemon.front, "--password=guessed", "-e", "SELECT 1")
        )
        self.assertEqual(finished.status, 1)
        self.assertIn(b"Access denied for user 'probe'", finished.err)


class Redis(DaemonCase):
    """redis-cli and redis-benchmark."""

    async def serve(self) -> Daemon:
        server = await redis(self.stage)
        return await self.relay(server.place)

    def command(self, name: str, daemon: Daemon, *arguments: str) -> list[str]:
        return [
            program(name, "redis-tools"), "-h", daemon.front.host, "-p", str(daemon.front.port), *arguments,
        ]  # fmt: skip

    async def test_values(self) -> None:
        """A value of 4 MB comes back as it was stored."""
        daemon = await self.serve()
        value = os.urandom(2 * 1024 * 1024).hex().encode()
        stored = await self.stage.check(*self.command("redis-cli", daemon, "-x", "set", "key"), feed=value)
        self.assertEqual(stored, b"OK\n")
        got = await self.stage.check(*self.command("redis-cli", daemon, "get", "key"))
        self.assertEqual(hashlib.sha256(got.rstrip(b"\n")).digest(), hashlib.sha256(value).digest())

    async def test_benchmark(self) -> None:
        """Requests that are sent sixteen at a time are all answered."""
        daemon = await self.serve()
        out = await self.stage.check(
            *self.command("redis-benchmark", daemon, "-n", "40000", "-c", "20", "-P", "16", "--csv",
                          "-t", "set,get,incr,lpush"),
        )  # fmt: skip
        self.assertEqual(
            re.findall(rb'^"(SET|GET|INCR|LPUSH)","[\d.]+"', out, re.M), [b"SET", b"GET", b"INCR", b"LPUSH"]
        )
        count = await self.stage.check(*self.command("redis-cli", daemon, "get", "counter:__rand_int__"))
        self.assertEqual(count, b"40000\n")

    async def test_subscription(self) -> None:
        """What one client publishes reaches another that only listens."""
        daemon = await self.serve()
        subscriber = self.stage.spawn(*self.command("redis-cli", daemon, "subscribe", "news"))
        await subscriber.says(rb"^subscribe\nnews\n1\n")
        for number in range(3):
            publish = self.command("redis-cli", daemon, "publish", "news", f"item {number}")
            heard = await self.stage.check(*publish)
            self.assertEqual(heard, b"1\n")
            await subscriber.says(rb"^message\nnews\nitem %d\n" % number)
        await subscriber.stop()
