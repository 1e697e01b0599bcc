"""How requests are read, and how answers are written."""
