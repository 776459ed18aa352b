"""From pixels, or from a user's own catalogues, to one table of measurements; the only part that imports photutils."""
