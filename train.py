"""`python train.py ...` is `lungdet train ...`."""

from lungdet.cli.train import main

if __name__ == "__main__":
    main()
