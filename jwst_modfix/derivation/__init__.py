"""From measurements of many exposures to one table of offsets, and all that is to be told of it."""
