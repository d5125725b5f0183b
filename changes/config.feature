One ini file says everything. All its mistakes are reported at once, with file, line and the nearest known
name, and nothing is started; `proxyctl check FILE` does the same without a daemon.
