"""The program in the environments that people really have: one file for each kind, each in a fresh process.

Add a file when a report names a new kind. Its docstring says the kind, and the public report where there is one.
"""
