"""The connections of the HTTP server: how many there are, what one may take, and the HTTP on each."""
