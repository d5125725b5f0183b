`PROXYD_COMPILE=1 pip install .` compiles the modules that run for each connection and each event; the start line
and `--version` then say "(compiled)". Without it, as before, nothing is compiled, and no C compiler is needed.
