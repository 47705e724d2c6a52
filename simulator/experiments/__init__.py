"""Runs made comparable: one trial, a sweep of every peer, a search for a policy's knobs, and how each is scored."""
