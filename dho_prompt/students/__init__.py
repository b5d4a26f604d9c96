"""Networks that turn images into features, to be adapted by a method."""
