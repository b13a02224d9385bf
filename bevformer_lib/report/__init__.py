"""The report of a build: one HTML file that says what was made, from what, and how much was lost."""
