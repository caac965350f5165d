"""GENERATED data for the demo and the tests: rendered skies and simulated raters. Nothing here is a photograph."""
