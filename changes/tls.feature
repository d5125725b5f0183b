`tls = passthrough` lets only TLS in and leaves it closed: the server's name and the protocols that the client
asks for are read from its ClientHello, and lead it to a pool.

`tls = /etc/proxyd/certs` ends TLS at a listener, with all certificates of a folder, as HAProxy, certbot or Kubernetes
leave them; `ssl:` (as in Twisted) and `tls:` addresses do so by themselves. They are chosen by the name that clients
ask for, RSA and ECDSA side by side, checked at the start, and read again when they change, one by one, the old one
staying where the new one is wrong. ALPN, resumption, OCSP responses from files, clients' certificates with lists of
those revoked; `proxyctl show certificates`, `proxyd_certificate_…`. Routes by `sni` and `alpn`, affinity by `sni`, and a
PROXY header before TLS work there too. `handshake_timeout` is 10s; until now `opening_timeout` held.

On the lane OpenSSL reads and writes the sockets itself, which takes half of the processor that Twisted's TLS takes, and
half-closes are passed on by TLS too.
