"""The door: HTTP, thin."""
