"""The footprint: which models hold which accelerators, in which state, at what price. Pure, like the core."""
