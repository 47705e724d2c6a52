"""``python -m simulator.emulator``: emulated inference engines for a cluster without GPUs."""

from simulator.emulator.server import main

if __name__ == "__main__":
    main()
