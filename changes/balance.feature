Connections are spread over the servers of a pool by `balance = roundrobin`, `random` or `p2c`, with
weights and backups.
