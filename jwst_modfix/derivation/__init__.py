"""From measurements of many exposures to a table of offsets with its provenance."""
