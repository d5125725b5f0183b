"""
When is an OCSP response to be fetched anew?

Halfway to where it ends to hold, as Apache's mod_md and Caddy do it, so that a responder may be away for as
long as the other half; a tenth more or less is chance.
"""

from __future__ import annotations

SPREAD = 0.1
LEAST_SECONDS = 60.0  # however short a response holds


def refresh_at(wall: float, until: float, chance: float) -> float:
    """When to fetch another, of a response that holds until then; ``chance`` is a number from 0 up to 1."""
    share = 0.5 - SPREAD / 2 + SPREAD * chance
    return wall + max(LEAST_SECONDS, share * (until - wall))
