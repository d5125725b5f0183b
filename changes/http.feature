`protocol = http` on a listener: each request of HTTP/1.0 and 1.1 is led to a server by itself, on connections that are
kept (`max_idle_connections`, `idle_connection_timeout`). Requests and answers are read strictly and rebuilt, so that
nothing is smuggled, and a connection to a server that may not have read a body is not used again; bodies are streamed, WebSockets and other upgrades become tunnels, and a request without an answer
goes to another server if that does no harm. `forwarded` and `trusted` say how servers learn of the client, `via` and
`server_header` what is shown of us and of them; `header_timeout`, `keepalive_timeout`, `response_timeout`,
`max_requests`, `max_header` and `max_fields` are the bounds.

The access log has a line for each request, as text, JSON or `format=combined`, and the metrics have
`proxyd_requests_total`, `proxyd_request_seconds` and `proxyd_first_byte_seconds`.

A server that has answered `Expect: 100-continue` with 100 keeps its connection behind the upload, so that uploads of
curl and others cost no connection each.

Connections to servers are kept also where these are told who the client is: with `proxy_protocol` for that client's
connection alone, with `sni=client` of `tls` for those who ask for the same name. What was open before a server went
away, or before files of TLS changed, is not used again.

Behind another proxy of HTTP that is `trusted` each request is that of the client whom it tells of, by X-Forwarded-For or
Forwarded: for routes (`client =`), limits, `balance`, pages and logs, which have the proxy as `via=`.

`rewrite = /v1 / both_ways` leads the paths in a server's redirects and cookies back to what clients call them; without
`both_ways` that is done where the server names itself, whose redirects led nowhere.

`max_body` may be given for a whole listener, and `request_rate_per_path` counts what is asked for by its path.
