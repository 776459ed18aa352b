"""Offsets and slopes, with errors, from measurements: numpy and scipy only."""
