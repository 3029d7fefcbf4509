"""Cross-scale pretraining: I-JEPA or LatentMIM with the spatial-affinity loss."""
