"""The proof on a GPU: `run.py` starts every check in a child process; the other files are these."""
