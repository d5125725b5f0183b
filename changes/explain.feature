`proxyctl explain` says which route, pool and server a client would get, why the others are out, and who would be tried
next, with servers supposed to be down, draining, of another weight, and so on.

`header.Cookie=SRV=…` tells which server the sealed cookie of an affinity leads to, if the secret is in the configuration.

With `--live` the pool and its servers are as they are in the running daemon, and the client has the server that it is
remembered with: so one learns where a client would be led now. Words may stand behind options.
