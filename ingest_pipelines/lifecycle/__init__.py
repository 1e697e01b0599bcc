"""What happens to an index after it was made: its versions, and documents that are removed."""
