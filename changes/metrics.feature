`metrics` serves counters and durations to Prometheus.
