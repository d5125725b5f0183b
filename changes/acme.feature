`[acme NAME]` has certificates made and renewed by an authority that speaks ACME, such as Let's Encrypt: by http-01 or
tls-alpn-01, with ECDSA or RSA keys, before they run out or when the authority says so. Listeners have them by
`tls = acme:NAME`, and are never without one. `proxyctl show acme` and `proxyd_acme_…` tell how they are.
