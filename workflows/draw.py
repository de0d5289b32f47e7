"""Random numbers that are pure functions of a seed, a name and an index: no generator, no state, no order of calls."""

import hashlib


def uniform(seed: int, name: str, index: int) -> float:
    """A number in the open interval (0, 1); equal arguments give equal numbers on every machine and version."""
    digest = hashlib.blake2b(f"{seed}/{name}/{index}".encode(), digest_size=8).digest()
    return ((int.from_bytes(digest) >> 11) + 0.5) / 2**53


def shuffled(seed: int, name: str, n: int) -> tuple[int, ...]:
    """The numbers 0 … n-1 in a seeded order."""
    return tuple(sorted(range(n), key=lambda index: uniform(seed, name, index)))
