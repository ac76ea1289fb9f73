"""The effect of one, ten and a thousand hostile addresses on other callers."""
