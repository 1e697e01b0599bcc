"""Prepares texts for a model: cuts them into passages, and encodes texts and pairs as token ids."""
