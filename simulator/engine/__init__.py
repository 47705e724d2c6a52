"""One pool of replicas, compiled: gateway, continuous batching, paged KV cache, prefix cache, their memory layout."""
