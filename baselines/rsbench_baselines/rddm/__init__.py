"""RDDM: residual denoising diffusion with one network for the residual and one for the noise.

J. Liu, Q. Wang, H. Fan, Y. Wang, Y. Tang, L. Qu, CVPR 2024. Sizes stand in ``sizes``.
"""
