"""The correction itself: arrays in, arrays out."""
