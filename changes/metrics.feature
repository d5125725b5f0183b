`metrics` serves counters, durations and the state of each server to Prometheus, at `/metrics`.
