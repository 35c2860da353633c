"""``python -m xpnet`` is ``xpnet``."""

from xpnet.cli import main

main()
