`root = /srv/www` on a listener with `protocol = http`, or a route: requests are answered with the files of that folder,
and no server is asked. Conditions, parts, precompressed files (`precompressed=br,gzip`) and an `index` for folders;
large files are sent by the kernel.

Files are compressed on the fly where `compression` is given, small ones once and long ones as their client takes them;
and `bandwidth` holds for files, too. A long text of `respond` is sent as its client takes it.
