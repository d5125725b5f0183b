A pool as a whole is taken into maintenance by `proxyctl disable POOL`, or `maintenance = yes`: its clients are refused, or
answered 503 with `Retry-After` and the `maintenance_page`, but for those of `maintenance_allow`; checks go on, and with
`state` a restart changes nothing. `show pools` and `proxyd_pool_maintenance` tell of it.
