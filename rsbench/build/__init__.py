"""Build datasets: plan, read, compose, assemble, import."""
