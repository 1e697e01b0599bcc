"""Speed measured side by side, as ratios and differences within one run."""
