"""Triplets: dates on which a fine and a coarse sensor saw the same ground."""
