"""The coefficient table: in memory, as a file, and what it is valid for."""
