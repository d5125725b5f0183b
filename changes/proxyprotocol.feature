A listener learns who its clients are from a balancer before it: `proxy_protocol` lists the networks that may
send a PROXY header, version 1 or 2. A pool with `proxy_protocol = v1` or `v2` says so to its servers in turn.
