"""What puts the product on a cluster. A package only so that the checkout's own tools and tests can import it."""
