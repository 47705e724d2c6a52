"""What renders the pictures of the documentation."""
