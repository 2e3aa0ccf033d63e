"""Arrays of a file and in memory, of which a region is read when it is needed."""
