With `admin = unix:/run/proxyd/admin.sock` the running daemon is asked and steered by `proxyctl`: `show servers`,
`pools`, `listeners`, `tables` and `info`; `drain`, `disable`, `enable` and `weight` for a server, with a `--reason`;
`clear table` forgets what is known of a client. Any program can do the same with lines of JSON.
