"""Turn a store into samples: what is given, what is wanted, and the truth."""
