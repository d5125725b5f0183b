A listener has any number of addresses: `tcp`, `tcp6`, `unix`, sockets from systemd or from a parent process,
and Twisted's other endpoints. `max_connections` bounds the clients of all listeners, by default by the
descriptors that the host grants.
