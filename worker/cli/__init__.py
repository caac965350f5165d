"""The command line: thin callers of stages and queries. Heavy imports wait until a command runs."""
