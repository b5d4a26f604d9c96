"""Getting data sets onto the disk, and saying what is missing there."""
