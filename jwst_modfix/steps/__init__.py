"""The stpipe steps: the only room that knows stpipe and jwst's containers."""
