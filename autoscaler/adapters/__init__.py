"""Adapters: all input and output, one outside thing each. None knows another; composition is done above."""
