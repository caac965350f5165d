"""One file per foreign format. An importer reports what it took, what it knew, and what it refused and why."""
