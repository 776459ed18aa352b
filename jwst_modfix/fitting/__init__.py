"""Measurements in, offsets and slopes with their uncertainties out: numpy and scipy only."""
