"""Training objectives, one a file: what a student learns from labels and from a teacher, and how it then predicts."""
