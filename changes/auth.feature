`auth = basic file:…` on a route lets in users with a password, as `htpasswd -B` hashes them; `forward_auth = URL` asks a
service about each request, and tells the server what it says of the client. The access log has the user, also in the
combined format.
