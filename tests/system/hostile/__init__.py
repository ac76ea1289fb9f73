"""What one, ten and a thousand hostile addresses can do to everybody else."""
