"""Training of the bundled cross-encoder: a recipe, its data, and the calibration of the model's scores."""
