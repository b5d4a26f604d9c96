"""What a run leaves: checkpoints, result files, and the tables made from them."""
