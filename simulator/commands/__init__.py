"""What each command does, from files and options to tables and pages; the options themselves are in ``cli``."""
