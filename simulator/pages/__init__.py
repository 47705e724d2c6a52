"""What is shown: tables and live view in the terminal, and pages of one HTML file each."""
