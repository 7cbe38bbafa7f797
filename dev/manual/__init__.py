"""The manual's build: what MkDocs calls, the figures of executed blocks, tables of results, links.

mkdocs.yml says what the manual holds; `make docs` builds it.
"""
