"""STFDiff: spatiotemporal fusion by diffusion on the fine image, one reference date.

Information Fusion 2024. Sizes stand in ``sizes``, free of torch.
"""
