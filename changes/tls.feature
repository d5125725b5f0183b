`tls = passthrough` lets only TLS in and leaves it closed: the server's name and the protocols that the client
asks for are read from its ClientHello, and lead it to a pool.
