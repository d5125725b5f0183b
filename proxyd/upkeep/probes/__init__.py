"""How is it seen whether a server does its work?  One file for each protocol that it may speak."""
