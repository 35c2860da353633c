"""Where ``require`` was: see xpnet.libraries."""

from xpnet.libraries import require as require
