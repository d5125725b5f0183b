A clock that is set, back or forward, holds up no timeout, check or rate any more and lets none run out: they go by a
monotonic clock. Logs, HTTP dates, certificates, bans and the state follow the clock on the wall within a second, and
the log says when it was set.
