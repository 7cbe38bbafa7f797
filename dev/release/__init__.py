"""`make release-check`: is what would be published complete, installable, licensed and consistent?

    python -m dev.release [GATE ...] [--output DIR]

Each gate is a module here with one function `check(work)`; `gates.py` has them in their order.
"""
