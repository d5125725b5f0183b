With `ocsp=fetch` the authority of a certificate is asked whether it is revoked, and clients are told (stapling), also
after a restart and while the authority is away. `proxyctl show ocsp` and `proxyd_ocsp_…` tell how it stands.
