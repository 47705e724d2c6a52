"""Peer autoscalers as deciders: each in one file, each naming the upstream version that it reproduces."""
