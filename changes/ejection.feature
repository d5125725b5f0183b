`eject` takes a server out for a while when connections in a row come to nothing, with or without a check; it is on by
default (five in a row, 30 seconds and longer each time, at most half of the servers, never the last).

With `protocol = http`, answers may be failures (`eject = 5 statuses=5xx`), a share of what failed lately may take a
server out (`share=50% window=10s least=20`), and with `trial` it comes back with one request, by which it stands or
falls: a circuit breaker.
