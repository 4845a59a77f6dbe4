"""`python -m pgbench`: always this pgbench, whatever else has that name on the PATH."""

from pgbench.cli import main

if __name__ == "__main__":
    main()
