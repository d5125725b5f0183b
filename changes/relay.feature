TCP connections are relayed with backpressure in both directions, with half-close, and with a finite
timer for every wait. A server that cannot be reached is replaced by another one.
