"""The commands of the terminal, one a module: ``arguments`` says what it takes, ``run`` does it and prints.

Nothing heavy is imported before a command runs, so that help is there at once.
"""
