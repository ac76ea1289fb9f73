"""What `protos/compile.py` makes of `protos/`. Nothing here is written by hand but this line."""
