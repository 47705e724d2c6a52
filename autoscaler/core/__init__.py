"""The decision core: pure functions from a policy, a memory and signals to a decision.

Nothing here reads a clock, a file, a socket or an environment variable, logs, or draws a random number. Time is
``signals.at``. What may be imported is kept in an allow-list by ``tests/test_architecture.py``.
"""
