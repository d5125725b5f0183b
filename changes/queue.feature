`max_connections` of a server holds with every way to balance. While all servers of a pool are full, clients wait in
its `queue`, in turns, so that one of them (`client_prefix4`, `client_prefix6`) cannot keep the others out; `priority`
of a listener says whose clients come first. The access log has `queue=`, the metrics `proxyd_queue_…`, and
`proxyctl explain` says until when a server gets clients. Backups no longer stand in for servers that are merely full
with `balance = first`.
