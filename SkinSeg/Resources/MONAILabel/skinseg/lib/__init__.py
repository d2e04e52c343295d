"""What the app's main.py needs."""
