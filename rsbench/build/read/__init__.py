"""Read windows of rasters."""
