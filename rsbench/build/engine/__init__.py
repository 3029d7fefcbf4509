"""Run a build: units, regions, workers, journal, staging and locks."""
