"""Dataset kinds: how a store of each kind is planned, read and assembled."""
