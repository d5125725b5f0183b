A listener has limits: `max_connections`, `max_connections_per_client`, `connection_rate`,
`connection_rate_per_client`, `max_handshakes` and `max_lifetime`; a pool has `max_connections`, at which clients
wait. A client is an address, or a network (`client_prefix4`, `client_prefix6`), also behind a trusted PROXY header.
The first refusal by each limit is told in the log, with the setting.
