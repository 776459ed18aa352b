"""The report of a derivation: figures and one self-contained page."""
