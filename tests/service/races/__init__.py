"""What must happen once, tried by many at the same moment: several processes, and two servers on one Redis."""
