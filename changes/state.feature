A server is up, down, checking, draining, in maintenance, or ejected; logs and metrics say which, since when and why
(`proxyd_server_state` has taken the place of `proxyd_server_standing`). `slow_start` brings a server that is back to
its share of connections step by step, within 30 seconds unless told otherwise; `panic_threshold` sends connections to
all servers while too few are up.
