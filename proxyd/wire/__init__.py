"""What do these bytes mean?  Parsers without I/O: feed them, they answer; always bounded."""
