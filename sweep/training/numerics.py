"""The version of the numbers that training gives, raised by hand: see ``NUMERICS``."""

NUMERICS = 3
"""Belongs to every run's identity. Whoever changes numbers outside methods/ and data/ (loop, optimizer, batch norm,
batching, precision, encoders, fusions) raises it by one and says in CHANGELOG.md which numbers change and why."""
