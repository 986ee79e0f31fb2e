"""The other programs of the comparison, each as small as possible."""
