"""Other frameworks' interfaces over the two seams: thin, each behind its extra."""
