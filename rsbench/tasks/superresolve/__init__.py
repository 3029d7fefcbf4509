"""Super-resolution: the image of the finer sensor of a pair from that of the coarser one."""
