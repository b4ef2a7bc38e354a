"""What the lab's image holds beyond its base: what is asked for, its locks, and changing them."""
