"""What do the servers and clients of a pool notice whose servers take only so many connections?"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.support.daemon import DaemonCase
from tests.support.peer import Ended
from tests.support.services import postgres_program, postgresql, redis
from tests.support.stage import Place

MOST = 10  # connections of the server

CLIENTS = 200

# How many backends there are at most beside our own, until pgbench is over.
WATCH = """
DO $$
DECLARE
    now integer; most integer := 0; seen boolean := false;
BEGIN
    FOR look IN 1..6000 LOOP
        PERFORM pg_stat_clear_snapshot();
        SELECT count(*) INTO now FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid();
        most := greatest(most, now);
        seen := seen OR now > 0;
        EXIT WHEN seen AND now = 0 AND EXISTS (SELECT FROM over);
        PERFORM pg_sleep(0.005);
    END LOOP;
    INSERT INTO watched VALUES (most);
END
$$;
"""


def admitted(record: dict[str, Any]) -> float:
    """When a client was let in, seconds."""
    accepted = datetime.fromisoformat(record["started"].replace("Z", "+00:00")).timestamp()
    return accepted + float(record["queue_seconds"] or 0.0)


class PostgreSql(DaemonCase):
    def psql(self, place: Place, sql: str) -> list[str]:
        return [
            postgres_program("psql"), "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1",
            "-h", place.host, "-p", str(place.port), "-U", "postgres", "-c", sql,
        ]  # fmt: skip

    async def test_never_one_more(self) -> None:
        """Two hundred clients share ten connections: never an eleventh, each its turn, and none fails."""
        server = await postgresql(self.stage)
        front = self.stage.tcp()
        daemon = await self.start(
            f"[listener front]\nbind = {front.bind}\npool = servers\n"
            f"[pool servers]\nserver a = {server.place} max_connections={MOST}\nqueue = length=200 wait=1m\n",
            front,
        )
        await self.stage.check(
            *self.psql(server.place, "CREATE TABLE watched (most int); CREATE TABLE over ()")
        )
        watcher = self.stage.spawn(*self.psql(server.place, WATCH))
        # A thread of pgbench for each client: while one connects, the thread serves no other.
        script = self.stage.folder / "short.sql"
        script.write_text("SELECT pg_sleep(0.002);\n")
        out = await self.stage.check(
            postgres_program("pgbench"), "--no-vacuum", "--connect", "-c", str(CLIENTS), "-j", str(CLIENTS),
            "-t", "2", "-f", script, "-h", front.host, "-p", str(front.port), "-U", "postgres", "postgres",
        )  # fmt: skip
        self.assertIn(b"number of failed transactions: 0 ", out)
        await self.stage.check(*self.psql(server.place, "INSERT INTO over DEFAULT VALUES"))
        self.assertEqual(await watcher.ends(), 0, watcher)
        most = await self.stage.check(*self.psql(server.place, "SELECT most FROM watched"))
        self.assertTrue(MOST // 2 <= int(most) <= MOST, most)  # a look may miss the moment of the tenth
        await daemon.leaves_nothing()
        records = await daemon.records(2 * CLIENTS)
        self.assertEqual(
            {record["reason"] for record in records} - {"client_finished", "server_finished"}, set()
        )
        by_arrival = sorted((str(record["started"]), admitted(record)) for record in records)
        times = [when for _, when in by_arrival]
        late = [before - after for before, after in zip(times, times[1:]) if before > after + 0.005]
        # The log has whole milliseconds, and a daemon that is held up is so between two looks at the clock.
        self.assertLess(len(late), CLIENTS // 10, late)
        self.assertGreater(sum(record["queue_seconds"] is not None for record in records), CLIENTS)
        metrics = await daemon.metrics()
        self.assertEqual(metrics['proxyd_server_connections_open{pool="servers",server="a"}'], 0)
        self.assertEqual(metrics['proxyd_queue_waiting{pool="servers"}'], 0)


class Redis(DaemonCase):
    """A server that answers one word at once, so who is served shows."""

    async def test_a_frozen_server(self) -> None:
        """While the only server is full and silent, those who wait too long are told, and leave nothing."""
        server = await redis(self.stage)
        front = self.stage.tcp()
        daemon = await self.start(
            f"[listener front]\nbind = {front.bind}\npool = servers\n"
            f"[pool servers]\nserver a = {server.place} max_connections=1\nqueue = length=2 wait=1s\n",
            front,
        )
        holder = self.stage.connect(front)
        holder.send(b"PING\r\n")
        await self.stage.until(lambda: holder.count, "an answer")
        waiting = [self.stage.connect(front) for _ in range(3)]
        for client in waiting:
            await client.sees_end()
        records = await daemon.records(3)
        self.assertEqual(
            sorted(record["reason"] for record in records), ["queue_full"] + ["queue_timeout"] * 2
        )
        last = self.stage.connect(front)
        last.send(b"PING\r\n")
        holder.close()
        await self.stage.until(lambda: last.count, "an answer")
        self.assertIs(last.ended, Ended.NOT)
        last.close()
