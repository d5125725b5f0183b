"""What do clients speak to us?  One protocol personality a module, on top of the relay."""
