Answers are stored and given again without asking a server, by RFC 9111: a `[cache NAME]` says how, and listeners and
routes with `protocol = http` name it in `cache`. A thousand clients that want the same have a server asked once,
stale answers are used while a new one is fetched or when servers fail (RFC 5861), a scan drives out nothing that others
come back for, clients are told by Cache-Status (RFC 9211), and with `path =` a restart forgets nothing.

What is on the disk is known in 70 bytes of memory an answer, and in `disk_index` at most; purging by a prefix or a tag
holds from that moment on, however much is stored, and holds nobody up.

With `path =` of a `[cache]` a body of 256 KiB or more is given from its file, by sendfile on plain connections, and takes
no memory for that; its digest is checked in threads when the file is opened for the first time.

`ignore_set_cookie = yes` of a `[cache]` stores answers that set a cookie, without it, as `private="Set-Cookie"` of an
answer does now.

With `path =` an answer may be longer than the cache's `size`, up to `max_object`: it goes to the disk while it comes, is
fetched once for all who want it, each of whom reads it at its own pace, and costs no more memory than a short one.

Who asks for a part (`Range`, as players of media do) of what is not stored yet has the whole of it stored, and gets the
part as it comes; before, nothing was stored for them.
