`eject` takes a server out for a while when connections in a row come to nothing, with or without a check; it is on by
default (five in a row, 30 seconds and longer each time, at most half of the servers, never the last).
