"""One file per step of the lifecycle, where rows and models meet. Every stage is safe to run twice."""
