"""The model interface, the registry, rollout, tiling, checkpoints and the contract."""
