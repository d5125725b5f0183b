`[acme NAME]` has certificates made and renewed by an authority that speaks ACME, such as Let's Encrypt: by http-01,
with ECDSA or RSA keys, before they run out or when the authority says so, and without ever leaving listeners without
one. `proxyctl show acme` and `proxyd_acme_…` tell how they are.
