"""What only the models of one bundle are made from; the rest of the package works without it."""
