With `speaks = pgsql` (or `mysql`, `redis`, `smtp`, `imap`, `ftp`, `http`, `tls`) on a listener, clients that get no server are
told so in their own protocol: "too many connections", 421, 503 with Retry-After, or a TLS alert. `refuse` says how
those leave who may not come in: `close`, `reset`, `drop` without a word, or a `tarpit` of bounded size.
