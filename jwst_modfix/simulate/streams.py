"""Streams of random numbers, independent of one another by name."""

import numpy as np

__all__ = ["random_stream"]


def random_stream(seed: int, *names: str) -> np.random.Generator:
    """
    Make the source of random numbers that belongs to a seed and a name.

    Children of one sequence, taken by index, are the same in two trials of one seed; streams by name are not.

    Parameters
    ----------
    seed : int
        The seed, 0 or more.
    *names : str
        What the numbers are for, such as the name of a trial and that of an exposure.

    Returns
    -------
    numpy.random.Generator
        The same for the same seed and names; independent of every other.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, *"/".join(names).encode()]))
