"""The models that ship with rsbench; they use only its public face."""
