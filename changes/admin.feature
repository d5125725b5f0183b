With `admin = unix:/run/proxyd/admin.sock` the running daemon is asked and steered by `proxyctl`: `show servers`,
`pools`, `listeners`, `tables` and `info`; `drain`, `disable`, `enable` and `weight` for a server, with a `--reason`;
`clear table` forgets what is known of a client. Any program can do the same with lines of JSON.

`proxyctl show requests` has the requests of HTTP that are under way: of whom, for what, how far, for how long, and at
which server; `proxyd_requests_open` counts them.

`proxyctl show checks` has what each check of each server has found last, how long that took, how many results are against
what it says, and when it looks again; `proxyctl show changes` what has become of servers and pools lately, and who or what
did it.

`proxyctl clear table TABLE --all` forgets all entries of a table, as when clients are to be spread anew after a failover.

`proxyctl show table TABLE KEY` shows the entry of one client, however many there are.

`proxyctl drain POOL/SERVER --wait 5m` waits until the server has no open connections.

Who drained a server is also told by the login of the session, which `sudo` does not change, where the host keeps it.
