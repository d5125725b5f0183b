`check` asks the servers of a pool whether they do their work, and sends clients only to those that do: `tcp`
whether they accept connections, `redis` whether Redis answers and is the master, `pgsql` whether PostgreSQL lets a
user in, is the primary, and what it answers to a query, `mysql` the same of MySQL and MariaDB, `tls` whether the
handshake succeeds and the certificate is right and lasts, `http` and `https` whether a request is answered with the
right status and body, `smtp` and `ftp` whether they greet, `ldap` whether a bind succeeds, `script` whatever can be
sent and expected. `fast` and `slow` are intervals for servers that are changing and that are down; `port` and
`address` check them elsewhere. Several checks of a server have names, and `checks` says what they must be together:
`checks = (lag and role) or forced`. A server that keeps changing needs more and more checks to come up, up to
`max_rise`. After the first check of each server, checks are spread over the whole interval. With `agent_check` an
agent of each server tells its weight and whether it is up, drained or in maintenance, as with HAProxy; what an
operator has taken out it leaves alone.
