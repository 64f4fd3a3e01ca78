"""`lungdet COMMAND ...`: finds the module of a command and runs its `main`. Imports nothing heavy: help is instant.

Every module here that defines `main` is a command; its name is the file's (underscores typed as dashes) and its help
line the first line of its docstring. So a new command is a new file, and this one stays as it is.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def commands() -> dict[str, str]:
    """Command name -> help line, in alphabetical order, read from the source without importing it."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        if path.name.startswith("_"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            found[path.stem.replace("_", "-")] = (ast.get_docstring(tree) or "").splitlines()[0]
    return found


def help_text() -> str:
    """What `lungdet --help` shows."""
    from lungdet import __version__

    lines = [f"  {name:<16}{line}" for name, line in commands().items()]
    return "\n".join(
        [
            f"lungdet {__version__}: lung-nodule experiments on chest CT, composed from YAML (Hydra).",
            "",
            "usage: lungdet COMMAND [group=choice] [key=value] [-m] [--cfg job] [--help]",
            "",
            "commands:",
            *lines,
            "",
            "examples:",
            "  lungdet train                                   phantom cohort, offline",
            "  lungdet train data=luna16 data.root=/data/luna16 model=luna_cls trainer.devices=2",
            "  lungdet train -m model=luna_cls,r3d18 seed=1,2  a sweep",
            "  lungdet cv split.n_folds=5                      all folds, merged and evaluated once",
            "  lungdet compare runs=[a,b]                      is one better than the other",
            "  lungdet eval run=latest                         numbers and report from a run's predictions",
            "  lungdet detect scan.mhd                         nodules in a whole scan, also untrained",
            "  lungdet detect input=/data/ct networks.segmentation=latest networks.classifier=latest outputs=dicom",
            "",
            "lungdet COMMAND --help shows the groups and every key of it; --cfg job prints the composed YAML.",
        ]
    )


def main() -> None:
    """Entry point of the console command."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(help_text() + "\n")
        return
    if arguments[0] in ("-V", "--version"):
        from lungdet import __version__

        sys.stdout.write(f"lungdet {__version__}\n")
        return
    name = arguments[0]
    known = commands()
    if name.replace("_", "-") not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        sys.stderr.write(f"lungdet: there is no command '{name}'{hint}\ncommands: {', '.join(known)}\n")
        raise SystemExit(2)
    stem = name.replace("-", "_")
    # Lightning starts the other processes of a DDP run by calling sys.argv[0] again with the same arguments, so it must
    # be a file that runs this one command.
    sys.argv = [str(FOLDER / f"{stem}.py"), *arguments[1:]]
    importlib.import_module(f"lungdet.cli.{stem}").main()
