"""What the token endpoint can be asked for, one file a grant; `issuing` is what they share."""
