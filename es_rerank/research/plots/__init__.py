"""Plots of measurements as SVG text. They are written by hand: a plotting library would be the largest
dependency.
"""
