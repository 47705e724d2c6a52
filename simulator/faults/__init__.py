"""What goes wrong, from a seed, as data: read from a file, and brought upon the modelled world."""
