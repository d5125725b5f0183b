`[route NAME]` leads clients of a listener to another pool, by the name they ask for in TLS (`sni`, also with
wildcards), by ALPN, or by the protocol that they speak: TLS, HTTP, SSH, PostgreSQL, another one, or none until
the server has spoken. So several protocols share a port. `opening_timeout` bounds the wait for the first bytes.

`speaks = rdp` is for clients of Remote Desktop.
