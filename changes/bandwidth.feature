Listeners have `bandwidth`, for each connection, and `bandwidth_per_client`, which all connections of a client share in
turns: bytes a second, each way. Who sends more is read from more slowly; nothing is dropped or buffered for it.

`bandwidth` and `bandwidth_per_client` work with `protocol = http`, over all requests and all streams of HTTP/2.
