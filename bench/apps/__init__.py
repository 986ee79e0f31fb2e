"""The programs that are compared, each as small as it can be."""
