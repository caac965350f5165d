"""One file per thing. A route parses, calls one stage or query, and answers; it holds no rule of its own."""
