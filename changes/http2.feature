Clients of `protocol = http` may speak HTTP/2: over TLS by ALPN, which offers `h2,http/1.1` there unless `alpn=` says
otherwise, and by prior knowledge without TLS. Each stream is a request like any other, its server is asked by HTTP/1.1,
and the log has `version=2.0`. Slow streams hold up nobody else, and floods of frames end their connection.
A WebSocket may be a stream, too (RFC 8441).

A new requirement is the library `hpack`. `make bench ROWS=h2` loads it by h2load.
