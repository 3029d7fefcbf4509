"""From scenes to pixels: harmonisation, masks, median, registration."""
