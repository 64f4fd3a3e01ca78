"""What `lungdet COMMAND --help` shows: the head of its YAML, its groups, every key with the comment it has there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_KEY = re.compile(r"( *)([\w.-]+):(?: |$)")
_BASE = re.compile(r"  - (\w+)$")
# Comments of these come before those of the groups that they set values of.
_ACROSS = ("experiment", "imbalance")


def command_help(root: str, overrides: Sequence[str]) -> str:
    """The help of one command.

    Args:
        root: name of a root configuration, without its suffix.
        overrides: what was typed beside --help, e.g. `["model=unet_seg"]`: the keys are those of that choice.

    Raises:
        HydraException: an override that does not fit.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    from lungdet.config.location import conf_folder

    folder = conf_folder()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(folder), version_base="1.3"):
        cfg = compose(root, overrides=list(overrides), return_hydra_config=True)
    choices = {g: option for g, option in cfg.hydra.runtime.choices.items() if not g.startswith("hydra")}
    groups = sorted(choices.keys() - {"paths"})
    keys = OmegaConf.to_yaml(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]))
    name = f"lungdet {root.replace('_', '-')}"
    parts = [_head(folder / f"{root}.yaml")]
    if groups:
        parts.append(
            "groups (GROUP=OPTION, * is chosen):\n" + "\n".join(_options(folder, g, choices[g]) for g in groups)
        )
        parts[-1] += f"\n`{name} GROUP=OPTION --help` shows the keys of another choice."
    parts.append(
        "keys (KEY=VALUE, with dots: paths.root=/data):\n" + _annotated(keys, _comments(folder, root, choices))
    )
    parts.append(
        "flags: --cfg job (the same as YAML), -m (a sweep: KEY=a,b), --config-dir DIR (your own YAML), --hydra-help"
    )
    return "\n\n".join(parts)


def _head(path: Path) -> str:
    """The comment at the head of a YAML file."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)


def _options(folder: Path, group: str, chosen: str | None) -> str:
    options = sorted(path.stem for path in (folder / group).glob("*.yaml"))
    return f"  {group}: " + ", ".join(f"{option} *" if option == chosen else option for option in options)


def _comments(folder: Path, root: str, choices: Mapping[str, str | None]) -> dict[str, str]:
    """Dotted key -> the comment above it, of the files that were composed."""
    found: dict[str, str] = {}
    chosen = sorted(choices.items(), key=lambda choice: choice[0] not in _ACROSS)
    for group, option in [("", root), *chosen]:
        for path in _with_bases(folder / group / f"{option}.yaml") if option else ():
            for key, comment in _comments_of(path, group.replace("/", ".")).items():
                found.setdefault(key, comment)
    return found


def _with_bases(path: Path) -> Iterator[Path]:
    """A file, and those of its group that its defaults list builds on: a variant holds only its difference."""
    if path.is_file():
        yield path
        for line in path.read_text(encoding="utf-8").splitlines():
            base = _BASE.match(line)
            if base and base[1] != "_self_":
                yield from _with_bases(path.with_name(f"{base[1]}.yaml"))


def _comments_of(path: Path, package: str) -> dict[str, str]:
    found: dict[str, str] = {}
    above: list[str] = []
    parents: list[tuple[int, str]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# @package"):
            package = line.split()[-1].replace("_global_", "")
            continue
        if line.lstrip().startswith("#"):
            above.append(line.strip())
            continue
        match = _KEY.match(line)
        if match:
            parents = _nested(parents, match)
            if above and match[2] != "defaults":
                found[".".join(filter(None, [package, *(name for _, name in parents)]))] = "\n".join(above)
        above = []
    return found


def _annotated(yaml: str, comments: Mapping[str, str]) -> str:
    """The composed YAML, each key below its comment."""
    lines = []
    parents: list[tuple[int, str]] = []
    for line in yaml.splitlines():
        match = _KEY.match(line)
        if match:
            parents = _nested(parents, match)
            comment = comments.get(".".join(name for _, name in parents), "")
            lines += [match[1] + text for text in comment.splitlines()]
        lines.append(line)
    return "\n".join(f"  {line}" for line in lines)


def _nested(parents: list[tuple[int, str]], match: re.Match[str]) -> list[tuple[int, str]]:
    """The way from the top to the key of this line, by indentation."""
    return [pair for pair in parents if pair[0] < len(match[1])] + [(len(match[1]), match[2])]
