`retry_on = 502 503 timeout` of a pool: listeners with `protocol = http` do not pass such answers on while another server
may be asked. `retry_budget` bounds how many requests are asked again, to a fifth of those of the last ten seconds and
ten a second as it stands; `proxyd_retry_budget_left`, `…_spent_total` and `…_refused_total` tell.

`hedge_after = 50ms` of a pool: what has no byte of an answer by then is asked of a second server too, and the first
answer counts.
