"""Prepares texts for a model: cuts them into passages with offsets, and encodes them and pairs of them as
tokens.
"""
