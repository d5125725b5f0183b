On Linux connections are relayed by an event loop of proxyd's own inside Twisted's, and bulk is spliced inside
the kernel (Python 3.10 and later). `datapath = stock` relays on Twisted's transports, as does any host where
the lane cannot run.
