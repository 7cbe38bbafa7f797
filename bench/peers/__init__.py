"""What a user would pick instead: one module a library, each with the library's own functions and no more."""
