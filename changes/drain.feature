When the daemon is stopped it takes no new connections and lets the open ones finish, for `drain_timeout`
at most.
