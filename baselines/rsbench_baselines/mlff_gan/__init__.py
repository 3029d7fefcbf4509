"""MLFF-GAN: multi-level feature fusion with an adversarial loss, one reference date.

IEEE TGRS 2022. Sizes stand in ``sizes``, free of torch.
"""
