"""
How does proxyd compare with HAProxy and nginx?

``python -m bench`` (`make bench`) measures them side by side on this machine; ``python -m bench.profile``
(`make profile`) shows where the daemon spends its time.  `rows` says what is measured, `proxies` how each
proxy is configured, `load` drives ``load.c``, and `report` makes tables.  Nothing here asserts a time.
"""
