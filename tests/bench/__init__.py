"""The benchmark: its arithmetic, its parsing of answers, and the whole command, each for a second or two."""
