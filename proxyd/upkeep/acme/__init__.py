"""Who sees to it that there are certificates?  From an authority that speaks ACME, for as long as we run."""
