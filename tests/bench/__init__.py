"""The benchmark: its arithmetic, its reading of answers, and the whole command, each for a second or two."""
