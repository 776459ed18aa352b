"""From measurements of many exposures to one table of offsets, with its provenance."""
