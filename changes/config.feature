One ini file, with includes, says everything. All its mistakes are reported at once, with file, line and the
nearest known name, and nothing is started. `proxyctl check FILE` does the same without a daemon, sums up what
the configuration does, and points out pools that serve nobody.

`proxyctl check` also says which programs of `command` checks cannot be run.
