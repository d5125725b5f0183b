`root = /srv/www` on a listener with `protocol = http`, or a route: requests are answered with the files of that folder,
and no server is asked. Conditions, parts, precompressed files (`precompressed=br,gzip`) and an `index` for folders;
large files are sent by the kernel.
