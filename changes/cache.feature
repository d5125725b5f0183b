Answers are stored and given again without asking a server, by RFC 9111: a `[cache NAME]` says how, and listeners and
routes with `protocol = http` name it in `cache`. A thousand clients that want the same have a server asked once,
stale answers are used while a new one is fetched or when servers fail (RFC 5861), a scan drives out nothing that others
come back for, clients are told by Cache-Status (RFC 9211), and with `path =` a restart forgets nothing.
