`max_connections=adaptive` of a server finds out by itself how many connections the server takes before it becomes
slower, by the time to connect and to the first byte of the answer; the queue is behind it. The metric
`proxyd_server_max_connections` and `proxyctl show servers` have the limit as it is now.
