"""Images read, cropped once for several models, and batched: labelled and unlabelled side by side."""
