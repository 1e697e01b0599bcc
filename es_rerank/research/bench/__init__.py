"""Speed measurements of several systems in one run, given as ratios and differences."""
