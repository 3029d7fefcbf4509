"""The simulated Earth, its known answers and its STAC catalogue."""
