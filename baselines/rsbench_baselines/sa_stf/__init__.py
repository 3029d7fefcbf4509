"""SA-STF: spatiotemporal fusion by residual diffusion with aligned, selected references.

J. Zhang, J. Qu and others, CVPR 2026. Sizes stand in ``sizes``, free of torch.
"""
