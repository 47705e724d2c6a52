"""The controller: the adapters put together, one tick over all policies, and everything that is told of it."""
