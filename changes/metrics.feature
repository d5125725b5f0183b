`metrics` serves counters, durations and the state of each server to Prometheus, at `/metrics`.

`proxyd_check_up`, `proxyd_check_seconds` and `proxyd_checks_total` have what each check of each server says, how long the
last took, and how many passed, failed, or learnt nothing.

A scrape of many servers is made in pieces, between which everybody else is served: with a thousand servers all waited
for a fifth of a second, now for 5 ms at a time, and once, for what is the histogram of all servers, for 30 to 60.
