`min_rate = 500/s after 10s` ends connections whose client or server takes what it is sent more slowly than that, or
whose client goes on sending more slowly without being answered. The reasons are `client_too_slow` and
`server_too_slow`; who is merely idle is not slow.

With `protocol = http`, `min_rate` judges bodies: uploads that drip (408), servers that do not take them (504), answers
that are not taken.
