"""From result files to tables and pictures."""
