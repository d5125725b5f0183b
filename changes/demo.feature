`[demo]` starts small web servers in the daemon itself, so that `etc/proxy.ini` serves something as it is.
