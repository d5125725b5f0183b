`proxyctl simulate` replays access logs, or made up clients, against other ways to balance, other weights, other
servers or a lost one, and says how each server would have been loaded and how long clients would have waited (the
mean, half of them, 99%, all); what decides is what decides in the daemon.
