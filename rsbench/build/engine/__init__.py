"""Run a build: units, regions, workers, journal and locks."""
