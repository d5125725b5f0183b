"""What did the operator ask for?  Ini text in, one frozen `Config` out; nobody else sees ini text."""
