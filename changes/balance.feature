Connections are spread over the servers of a pool by `balance = roundrobin`, `random` or `p2c`, with
weights and backups.

More ways to balance: `leastconn`, `static-rr`, `first` (which fills servers to their `max_connections`), `leasttime`
(by connect time, time to the first byte, or round trip), `leastbytes`, and `source`, `hash` and `maglev`, which lead
the same clients to the same servers, by address or by the name asked for in TLS, within a bound if
`hash_balance_factor` says so. Servers have a `priority`, and backups may join in early (`backup_below`).

With `protocol = http`, `balance = hash` and `maglev` can go by what is in a request: `key=host`, `key=path`,
`key=header:NAME` or `key=cookie:NAME`.
