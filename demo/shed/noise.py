"""Repeatable randomness: the same seed and place always give the same number, whatever was asked before."""

from functools import lru_cache
from math import floor
from random import Random


@lru_cache(maxsize=8192)
def roll(seed: str, index: int) -> float:
    """An even random number in [0, 1) that belongs to `seed` and `index`."""
    return Random(f"{seed}:{index}").random()


def smoothstep(low: float, high: float, value: float) -> float:
    """0 at or below `low`, 1 at or above `high`, and a smooth rise between them."""
    fraction = min(1.0, max(0.0, (value - low) / (high - low)))
    return fraction * fraction * (3.0 - 2.0 * fraction)


def wander(seed: str, place: float) -> float:
    """A smooth random line in [0, 1) along `place`, with a new random value at each whole number."""
    index = floor(place)
    here, there = roll(seed, index), roll(seed, index + 1)
    return here + (there - here) * smoothstep(0.0, 1.0, place - index)
