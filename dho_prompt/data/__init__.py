"""Images in, batches out: labelled and unlabelled sets, shared views, data sets."""
