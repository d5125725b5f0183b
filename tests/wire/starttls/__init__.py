"""Tests of ``proxyd/wire/starttls``."""
