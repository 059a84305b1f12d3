"""What happens to one instance, played by the real kernel: ground of the test kit and of ``verify``."""
