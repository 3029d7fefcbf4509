"""Export stores as GeoTIFF, release archives and data cards."""
