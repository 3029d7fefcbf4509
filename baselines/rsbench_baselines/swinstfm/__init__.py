"""SwinSTFM: fusion by windowed attention in two pyramids, one reference date.

IEEE TGRS 2022. Sizes stand in ``sizes``, free of torch.
"""
