`shed = descriptors=90% memory=2G lag=200ms` in `[proxyd]`: above such marks idle connections go sooner, the least
important listeners stop accepting, and the clients with most connections lose some, one step after another. The
metrics have `proxyd_shedding_…`, the access log the reason `shed`.
