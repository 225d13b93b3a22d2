"""What is generated from the declarations: the reference page and files that list every setting with its default."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ngcpd.config.declare import RELOAD, Key, Section
from ngcpd.config.inuse import IN_USE
from ngcpd.config.network import HOST_KEYS, INTERFACE_KEYS
from ngcpd.config.schema import SCHEMA
from ngcpd.config.types import Type

_PLAIN = re.compile(r"[A-Za-z0-9/_.$(][A-Za-z0-9/_.@+$(){}= -]*(?<! )")
_AMBIGUOUS = re.compile(r"(?i)true|false|on|off|null|y|n|[0-9.]+[eE]?[0-9]*|0[xo][0-9a-f]+")


def scalar(value: object) -> str:
    """One value in YAML, quoted with single quotes only where that is needed."""
    if value is None:
        return "~"
    text = str(value)
    number = isinstance(value, int | float) or (re.fullmatch("[1-9][0-9]*|0", text) is not None)
    if number or (_PLAIN.fullmatch(text) and not _AMBIGUOUS.fullmatch(text)):
        return text
    return "'" + text.replace("'", "''") + "'"


def flow(value: object) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(k)}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(v) for v in value) + "]"
    return scalar(value)


def reads() -> frozenset[str]:
    """Keys that the code of this release acts on."""
    rejects = "kamailio.proxy.early_rejects"
    return IN_USE | {k for k in SCHEMA.keys if k.startswith(rejects + ".") and rejects in IN_USE}


# --------------------------------------------------------------------------------------------------------------- Markdown
def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _row(key: Key, prefix: str, used: frozenset[str]) -> str:
    aliases = f" Also: {', '.join(f'`{a}`' for a in key.aliases)}." if key.aliases else ""
    default = "" if key.default in (None, "") else f"`{flow(key.default)}`"
    unit = f" ({key.unit})" if key.unit else ""
    star = "*" if key.path in used else ""
    cells = (f"`{key.path.removeprefix(prefix)}`", default + unit, key.type.allowed(), f"{key.meaning}.{aliases}", f"{key.reload}{star}")
    return "| " + " | ".join(_cell(c) for c in cells) + " |"


def _sections(file: str) -> Iterable[Section]:
    return (s for s in SCHEMA.sections if s.file == file)


def _tables(file: str) -> list[str]:
    used = reads()
    lines = []
    for section in _sections(file):
        lines += [f"### {section.name}", "", f"{section.title}."]
        if section.aliases:
            lines.append(f"Also found as {', '.join(f'`{a}`' for a in section.aliases)}.")
        lines += ["", "| Key | Default | Allowed | Meaning | Change |", "|---|---|---|---|---|"]
        lines += [_row(key, section.name + ".", used) for key in section.keys]
        lines.append("")
    return lines


def _network_table(title: str, keys: dict[str, Type]) -> list[str]:
    return [f"### {title}", "", "| Key | Allowed |", "|---|---|", *(f"| `{k}` | {_cell(t.allowed())} |" for k, t in keys.items()), ""]


_HEAD = """# Settings

This page is made by `ngcpctl config reference` from the declarations in `ngcpd/config`; edit those.

The files are read from the configuration directory (`--config-dir`, else `/etc/ngcp-config` if present, else `etc/` of the checkout), lowest
precedence first: `config.yml`, `config.HOST.yml`, `config.local.yml`, `network.yml`, `config.d/*.yml`, `constants.yml`. A later file overrides
single values and adds to lists; it cannot shorten a list. To replace a list, set the key to a word in one file and to the list in a later one, or
edit the file that has it.

Every value is text exactly as written; `yes`, `010` and `00` stay what they are. `~` or nothing means: not set, the default counts. Null items of
lists are skipped. Relative paths count from the directory above the configuration directory. `ngcpctl config check` reports every wrong value with
file, line and column; unknown keys are warnings. `enable` and `enabled` are taken for each other.

`NGCPD_NODE` names the node (else `/etc/hostname`, else the only host `self`) and the overlay `config.HOST.yml`; `NGCPD_LISTEN` replaces the address
of SIP and media on this node.

Column *Change* says what a change takes; a star marks settings that the code of this release reads, the others are checked and kept for features
to come:
"""


def markdown() -> str:
    """The whole reference page."""
    lines = [_HEAD]
    lines += [f"- **{letter}** {words}" for letter, words in RELOAD.items()]
    lines += ["", "## config.yml", ""]
    lines += _tables("config.yml")
    lines += ["## constants.yml", "", "Places, keys and accounts; this file has the highest precedence.", ""]
    lines += _tables("constants.yml")
    lines += ["## network.yml", "", "`hosts` is a map from host names to hosts; a host has the keys below and one map for each interface.", ""]
    lines += _network_table("Host", HOST_KEYS)
    lines += _network_table("Interface", INTERFACE_KEYS)
    return "\n".join(lines).rstrip() + "\n"


# ------------------------------------------------------------------------------------------------------------------- YAML
_FILE_HEAD = {
    "config.yml": "# Settings of the platform. Every key is shown with its default; docs/settings.md has types and ranges.\n"
    "# Own values are better kept in config.local.yml, which overrides this file.\n\n---\n",
    "constants.yml": "# Places, keys and accounts. This file overrides all others. Every key is shown; docs/settings.md has types and ranges.\n"
    "# ngcpd.state_dir: ./var (next to this directory) suits a checkout, /var/lib/ngcpd an installed system.\n\n---\n",
}
_SHIPPED: dict[str, dict[str, object]] = {"constants.yml": {"ngcpd.state_dir": "./var"}}
"""Values of the shipped files that are not the defaults."""


def defaults(file: str = "config.yml") -> str:
    """The shipped file: every setting of it with its default and a comment."""
    changed = _SHIPPED.get(file, {})
    lines: list[str] = []
    for section in _sections(file):
        lines += ["", f"# {section.title}", f"{section.name}:"]
        above: tuple[str, ...] = ()
        for key in _grouped(section.keys):
            *path, last = key.path.split(".")[1:]
            shared = 0
            while shared < min(len(above), len(path)) and above[shared] == path[shared]:
                shared += 1
            given = [k for k in section.keys if k.default is not None or file == "config.yml"]
            for depth in range(shared, len(path)):
                below = ".".join([section.name, *path[: depth + 1], ""])
                # a map whose keys are all commented out would be a null, which erases the map of other files
                silent = "" if any(k.path.startswith(below) for k in given) else "# "
                lines.append(f"{'  ' * (depth + 1)}{silent}{path[depth]}:")
            above = tuple(path)
            unit = f" [{key.unit}]" if key.unit else ""
            indent = "  " * (len(path) + 1)
            value = changed.get(key.path, key.default)
            # in the file that overrides all others a null would undo what another file says
            silent = "# " if value is None and file == "constants.yml" else ""
            lines += [f"{indent}# {key.meaning}{unit}", f"{indent}{silent}{last}: {flow(value)}"]
    return _FILE_HEAD[file] + "\n".join(lines).lstrip("\n") + "\n"


def _grouped(keys: tuple[Key, ...]) -> list[Key]:
    """Keys in declared order, those of one map next to each other (a map may be written only once)."""
    tree: dict[str, object] = {}
    for key in keys:
        branch: dict[str, object] = tree
        *path, last = key.path.split(".")[1:]
        for name in path:
            below = branch.setdefault(name, {})
            assert isinstance(below, dict)
            branch = below
        branch[last] = key

    def flat(branch: dict[str, object]) -> Iterable[Key]:
        for value in branch.values():
            if isinstance(value, Key):
                yield value
            elif isinstance(value, dict):
                yield from flat(value)

    return list(flat(tree))
