With `admin = unix:/run/proxyd/admin.sock` the running daemon answers `proxyctl show servers`, `pools`,
`listeners` and `info`, and `proxyctl weight POOL/SERVER N` gives a server another weight. Any program can ask
the same in lines of JSON.
