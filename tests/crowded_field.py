"""A part of a detector so full of sources that a single exposure of it measures an offset."""

from jwst_modfix import simulate

SUBARRAY = simulate.Subarray(name="SUB640", xstart=525, ystart=505, xsize=1000, ysize=1000)
CROWD = simulate.Population(density=110.0, faintest=23.0, brightest=19.5, star_fraction=0.6, variable_fraction=0.0)
