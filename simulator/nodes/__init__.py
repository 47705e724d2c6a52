"""The nodes that pools of replicas share, and the file that describes them."""
