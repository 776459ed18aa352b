"""``python -m jwst_modfix.cli``, the same as ``modfix``."""

from jwst_modfix.cli import main

main(prog_name="modfix")
