"""The front door: `uv run kernel-lab.py VERB …` is the same as the installed `kernel-lab VERB …`.

The hyphen keeps this file unimportable, so no logic can grow here; see lab/cli.py.
"""

from lab.cli import main

if __name__ == "__main__":
    main()
