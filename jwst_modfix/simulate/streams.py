"""Independent streams of random numbers, one for each name."""

import numpy as np


def random_stream(seed: int, *names: str) -> np.random.Generator:
    """Make the random generator of a seed and names, independent of all others."""
    # Children of one sequence, taken by index, are the same in two trials of one seed; streams by name are not.
    return np.random.default_rng(np.random.SeedSequence([seed, *"/".join(names).encode()]))
