`compression = zstd br gzip` on a listener with `protocol = http`, or a route: answers are compressed for clients that
take that, as they come, with `types`, `min_size`, a level for each coding, and a bound on what it may take of the
processor (`max_cpu`). With `decompress` what servers have encoded is decoded for clients that cannot take it. The
access log has `encoding=`, and the metrics `proxyd_compression_…`.

What goes through a `cache` is compressed once for each coding that clients like best: while it is fetched, for all who
wait for it, or of what is stored; it is kept so in memory, and given from then on by listeners and routes with
`compression`. With `decompress` what servers have encoded and is stored so is decoded, once, for clients that cannot take
it. The access log has `encoding=` for all of that.
