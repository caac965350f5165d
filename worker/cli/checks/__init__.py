"""What `afterglow doctor` looks at. Nothing here starts, creates or changes anything."""
