With `tls` a pool speaks TLS with its servers, whatever its clients speak: verified by default, by name or address, with
authorities and a certificate of its own, SNI (that of the client, too), ALPN and sessions that are taken up. A server
with a wrong certificate was not reached, another is tried, and the log says what is wrong with it. Checks go the same
way, and files that are replaced are read again.

The access log has `server_tls=`: the version and the cipher of TLS with the server, and whether a session was taken up.
