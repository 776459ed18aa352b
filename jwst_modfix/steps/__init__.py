"""The stpipe steps: the only part that imports stpipe and jwst's containers."""
