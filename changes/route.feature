`[route NAME]` leads clients of a listener to another pool, by the name they ask for in TLS (`sni`, also with
wildcards), by ALPN, or by the protocol that they speak: TLS, HTTP, SSH, PostgreSQL, another one, or none until
the server has spoken. So several protocols share a port. `opening_timeout` bounds the wait for the first bytes.

`speaks = rdp` is for clients of Remote Desktop.

Of several routes that fit, the first one in the order of the files is taken, and one that could never be taken is an
error.

With `protocol = http` each request takes its own `[route]`: by `host`, `path`, `path_exact`, `path_regex`, `method`,
`header`, `query`, `cookie`, `client`, and over TLS `sni` and `alpn`. Paths are compared, and sent, in their normal form,
so that none is written past a rule; `encoded_slashes` is for servers that want escaped slashes. A route leads to a
`pool`, with `rewrite`, `request_header`, `response_header`, `response_timeout` and `retries`, or has a `redirect` or a
`respond`; `request_rate`, `request_rate_per_client`, `request_rate_per_header`, `max_concurrent_requests` and `max_body`
bound it. `proxyctl explain` takes `host`, `path`, `method`, `scheme` and `header.NAME`, and
`proxyd_route_…` counts requests by route: by status, times until the first byte and the last, bytes, retries.
