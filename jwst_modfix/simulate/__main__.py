"""Run as ``python -m jwst_modfix.simulate``."""

from jwst_modfix.simulate.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
