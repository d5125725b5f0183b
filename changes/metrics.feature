`metrics` serves counters, durations and the state of each server to Prometheus, at `/metrics`.

`proxyd_check_up`, `proxyd_check_seconds` and `proxyd_checks_total` have what each check of each server says, how long the
last took, and how many passed, failed, or learnt nothing.
