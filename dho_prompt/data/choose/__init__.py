"""Which training images are labelled, and which others there are."""
