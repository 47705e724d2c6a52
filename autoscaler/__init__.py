"""The controller: reads signals, decides, scales, and can explain every decision it took."""
