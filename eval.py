"""`python eval.py ...` is `lungdet eval ...`."""

from lungdet.cli.eval import main

if __name__ == "__main__":
    main()
