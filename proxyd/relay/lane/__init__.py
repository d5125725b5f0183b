"""
The express lane: how do bytes move as fast as nginx and HAProxy move them?

A small transport layer inside the reactor.  `loop` serves all its sockets from one epoll of its own, which
the reactor sees as a single descriptor; `connection` is a transport for any Twisted protocol, and a pump
when two of them are joined; `sockets` has what can be asked of it; `pipes` are for splicing; `dial` reaches
servers; `datapath` is what the rest of the relay sees.  Each file imports only those before it in this
order: pipes, loop, sockets, connection, dial, datapath.
"""
