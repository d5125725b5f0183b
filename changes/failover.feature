`on_down` closes the connections of a server that has gone down, at once or after a time; `on_up = close_backups` brings
clients of backups back. Such connections have reasons of their own, `server_down` and `failback`; a want of local ports
is now `local_ports`, and the proxy's fault.
