`affinity = source ttl=30m size=100k` brings clients back to the server that they had, by their address, the proxy
that they come through (`via`), the name in TLS (`sni`), the TLS session that they resume (`tls_session`), or the
cookie or token of RDP (`rdp_cookie`). A client whose server is away is served by another without an error;
`affinity_failback = yes` leads it back. `proxyd_affinity_…` counts what came of it.

With `state` the tables outlive a restart.

`affinity = cookie name=SRV secret=file:…` gives browsers a sealed cookie that leads them back to their server, for
listeners with `protocol = http`; `affinity = learned_cookie name=JSESSIONID` goes by the servers' own. A server that is
drained keeps those whom cookies lead to it.
