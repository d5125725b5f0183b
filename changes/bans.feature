`proxyctl bans` closes the connections of an address or a network at accept, at all listeners, until the ban ends; bans
are listed, exported and imported as text, and fail2ban makes them with the files in `etc/fail2ban`.
