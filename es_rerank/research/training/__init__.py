"""Training the bundled cross-encoder: a recipe, its data, and the calibration of what it says."""
