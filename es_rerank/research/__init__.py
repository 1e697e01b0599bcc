"""Tools for making and measuring models: training, evaluation, bench and plots. The serving code imports none
of it.
"""
