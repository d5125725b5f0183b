Listeners, pools and servers say what they want of TCP: `receive_buffer` and `send_buffer` (also as `4mss`), `mss`,
`window_clamp`, `notsent_lowat`, `user_timeout`, `keepalive`, `congestion_control`, `dscp`, `interface`, `fastopen`;
listeners `defer_accept`, and servers `source`, which may be the client's own address. All of it is read back, and what
this host refuses is in the log as `degraded: …`, with what helps.

`proxyctl show connections` has the open connections, with `--tcp` and what the kernel knows of both sides.

With `tcp_info = yes` the access log says what the kernel knew of both sides at the end: round trips, segments sent
again, windows. Text lines have two fields more, `client_tcp=` and `server_tcp=`, before `reason=`.

Where the `source` or the `interface` towards a server cannot be had for a client, the reason is `source_failed`, which
does not count against the server.
