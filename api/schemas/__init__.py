"""What goes over the wire. camelCase only in the answer of the scorer, which is a contract; snake_case elsewhere."""
