"""The Zarr store: layout, writing, reading, integrity, export."""
