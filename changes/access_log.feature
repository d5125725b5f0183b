`access_log` writes a line for each connection, as text or as JSON: who, where to, how long, how much, and
why it ended.

`format='{client} "{method} {target}" {status}'` writes the lines of requests in a format of your own, and
`connections=` those of connections. Lines of requests have TLS: `tls=`, `sni=`, `alpn=`, `cn=` and `server_tls=`; `/resumed`
behind `tls` is a session that was taken up.
