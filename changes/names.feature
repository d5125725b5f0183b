Servers that are given by a name follow it: it is looked up when its TTL is over (5 s to 5 min), and never while a
client waits. A name with several addresses is reached at the first that answers, IPv4 or IPv6; with `resolve=all` each
address is a server of its own. `server db = srv:_db._tcp.example` takes hosts, ports, weights and priorities from SRV
records. When the name service fails, or has no answer, servers stay as they are. `resolvers` says whom to ask;
`proxyctl show names` shows what is known.
