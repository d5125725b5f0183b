"""
proxyd: a TCP reverse proxy and load balancer on Twisted.

The house has seven rooms, and each answers one question:

``config``     What did the operator ask for?             touches ini text
``wire``       What do these bytes mean?                  touches bytes
``policy``     What should we do about it?                touches values
``relay``      How do the bytes move?                     touches transports
``frontends``  What do clients speak to us?               touches streams
``upkeep``     What runs while nobody is looking?         touches timers
``ops``        How do people see and steer it?            touches observers

Beside the rooms stand ``errors`` (what can go wrong, and whose fault it is), ``interfaces`` (the
seams, and the values that cross them) and the doors: ``service`` assembles, ``tap`` starts it under
twistd, ``cli`` is proxyctl, ``demo`` is what the shipped configuration serves.

``config``, ``wire`` and ``policy`` are pure: no Twisted, no clock, no chance of their own.
ARCHITECTURE.md is the map; it walks one connection from accept to close.
"""

__version__ = "0.1.0"
