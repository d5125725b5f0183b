"""What should we do about it?  Decisions over values; time and chance come in as arguments."""
