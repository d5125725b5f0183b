`check = tcp` asks the servers of a pool whether they accept connections, and sends clients only to those
that do.
