With `state`, a folder, a restart knows which servers were down, draining, in maintenance or ejected, and what weights
operators had given them.
