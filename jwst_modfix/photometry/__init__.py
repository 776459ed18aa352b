"""Measurements from pixels or catalogues; the only part that imports photutils."""
