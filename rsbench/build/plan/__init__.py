"""From a recipe to a lock: STAC search, scene selection and cost."""
