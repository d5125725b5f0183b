Records say by what a client got its server, as `chosen`: `balance`, `affinity`, `backup`, `panic`, `last_resort`, `retry`
or `hedge`. Lines of text have it where it is not `balance`, lines of JSON always, and formats of your own as `{chosen}`;
`proxyctl show connections --json` and `show requests --json` have it of what is open.
