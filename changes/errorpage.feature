`error_page 5xx = file:/etc/proxyd/sorry.html` or a text, with places such as `{reason}` and `{id}`, on listeners with
`protocol = http` and on their routes, is what clients are shown where no server has an answer for them; the access log
has the `id=`. Programs, which accept JSON and no HTML, get JSON: that of the operator, or a problem of RFC 9457.
