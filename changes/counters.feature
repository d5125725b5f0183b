`[counters NAME]` count what clients do, by address or by the name asked for in TLS, in tables of bounded size; their
rules ban, deny or tell: `rule flood = ban 10m when connection_rate > 100/10s`. Listeners `track` them, and may share
them. `proxyctl show table counters/NAME` shows what was counted.
