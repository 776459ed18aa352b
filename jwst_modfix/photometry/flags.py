"""What is to be said of a measurement, one bit for each."""

from enum import IntFlag

__all__ = ["UNUSABLE", "Flag"]


class Flag(IntFlag):
    """Flags of a measurement; 0 is a clean one."""

    EDGE = 1  # the aperture is cut off by the edge of the array
    SATURATED = 2  # a pixel in the aperture is saturated
    FILLED = 4  # some masked pixels were filled in
    MASKED = 8  # too much of the flux was filled in, or the centre is masked
    SKY = 16  # too little is left of the annulus for the local sky
    NEGATIVE = 32  # the flux is not positive


UNUSABLE = Flag.EDGE | Flag.SATURATED | Flag.MASKED | Flag.SKY | Flag.NEGATIVE
"""Any of these makes a measurement useless."""
