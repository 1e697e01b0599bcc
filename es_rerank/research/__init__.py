"""For those who make and measure models: training, evaluation, bench and plots. Nothing that serves a search imports from here."""
