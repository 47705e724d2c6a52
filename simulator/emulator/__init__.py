"""The engine model in real time, with vLLM's ``/metrics``: the whole controller runs on clusters without GPUs."""
