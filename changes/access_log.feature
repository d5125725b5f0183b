`access_log` writes a line for each connection, as text or as JSON: who, where to, how long, how much, and
why it ended.
