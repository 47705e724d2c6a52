"""How long a replica takes from being ordered to Ready, by phase."""
