A listener with `tls` and `speaks = pgsql`, `mysql`, `smtp`, `imap` or `ftp` ends TLS that begins in the way of that
protocol: SSLRequest, the login's flag, STARTTLS, AUTH TLS. Clients that do without are told that they must not, or let
in with `starttls = optional`.

The same is asked of servers by `starttls=` in the `tls` of a pool, so that clients without TLS reach servers that want
it.
