`allow` and `deny` say who may come to a listener, by networks, by `[list NAME]` and by files that are read again when
they have changed; the first line that names a client decides, and who is denied is closed before a byte is read.
