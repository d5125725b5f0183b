"""
What does a client of HTTP get?  Each of its requests is led to a server by itself.

The life of one request is in `session`, from top to bottom; `request` and `answer` have how heads are
rebuilt, `kept` the connections to servers that wait for the next one, `pages` what we say ourselves.
"""
