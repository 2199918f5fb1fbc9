"""The files of a folder of definitions: features.yml, segments.yml and *.py, each as a tree.

A Python file is run, and what it declares stands in the same tree as YAML's (`choose.declaring`),
so whatever looks at trees afterwards cannot tell them apart.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from streams.choose.declaring import OPEN, Declared
from streams.choose.definitions import form
from streams.kernel.errors import DefinitionError
from streams.playbooks.shapes import Fault
from streams.playbooks.source import BYTES_MAX, SourceFault, Spot, read

SHIPPED = Path(__file__).resolve().parent
FEATURES, SEGMENTS = FILES = ("features.yml", "segments.yml")
# One file at a time: where to print is the whole process's.
_RUNNING = threading.Lock()
_RUN = "it is run as Python whenever definitions are read; `kairos plan` tells when it holds"


@dataclass(frozen=True, slots=True)
class Source:
    """One file. `features`, `segments`: the tree of what it declares of them, None: nothing."""

    path: Path
    features: Spot | None = None
    segments: Spot | None = None
    faults: tuple[DefinitionError, ...] = ()

    def fault(self, fault: Fault) -> DefinitionError:
        return DefinitionError(str(self.path), fault.line, fault.fault, fault.remedy)


def sources(folder: Path) -> list[Source]:
    """features.yml and segments.yml, shipped ones for what is declared nowhere in `folder`, then
    its Python files by name, but for those whose name begins with an underscore."""
    code = [] if folder.resolve() == SHIPPED else [
        _python(path) for path in sorted(folder.glob("*.py")) if not path.name.startswith("_")]
    found = []
    for name in FILES:
        declared = any(each.faults or (each.features if name == FEATURES else each.segments)
                       for each in code)
        own = folder / name
        if own.exists() or not declared:
            found.append(_yaml(own if own.exists() else SHIPPED / name))
    if not code and not any((folder / name).is_file() for name in FILES):
        return [Source(folder, faults=(DefinitionError(
            str(folder), 1, f"no folder with {' or '.join(FILES)} or Python files",
            "KAIROS_DEFINITIONS names such a folder; leave it empty for the shipped definitions"),
        ))]
    return [*found, *code]


def read_tree(path: Path, shape: Any) -> tuple[Spot | None, list[DefinitionError]]:
    """The tree of a YAML file, or None and what is wrong with it."""
    try:
        spot = read(path.read_text("utf-8"))
    except SourceFault as fault:
        return None, [DefinitionError(str(path), fault.line, fault.fault, fault.remedy)]
    except (OSError, UnicodeDecodeError) as fault:
        return None, [DefinitionError(str(path), 1, f"cannot be read: {fault}",
                                      "save it as plain UTF-8 text")]
    faults = told(path, shape.faults(spot, ""))
    return (None if faults else spot), faults


def told(path: Path, faults: Iterable[Fault]) -> list[DefinitionError]:
    return [DefinitionError(str(path), f.line, f.fault, f.remedy)
            for f in sorted(faults, key=lambda f: f.line)]


def _yaml(path: Path) -> Source:
    if path.name == FEATURES:
        spot, faults = read_tree(path, form.FEATURES)
        return Source(path, features=spot, faults=tuple(faults))
    spot, faults = read_tree(path, form.SEGMENTS)
    return Source(path, segments=spot, faults=tuple(faults))


def _python(path: Path) -> Source:
    try:
        text = path.read_bytes()
    except OSError as fault:
        return _broken(path, Fault(1, f"cannot be read: {fault}", "make it a plain text file"))
    if len(text) > BYTES_MAX:
        return _broken(path, Fault(1, f"the file is larger than {BYTES_MAX // 1024} KiB",
                                   "divide it: all Python files of the folder are read"))
    try:
        code = compile(text, str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as fault:
        line = getattr(fault, "lineno", None) or 1
        return _broken(path, Fault(line, f"this is not Python: {getattr(fault, 'msg', fault)}",
                                   "check indentation, quotes and brackets"))
    declared = _run(path, code)
    if not declared.faults and declared != _run(path, code):
        return _broken(path, Fault(1, "it declares something else whenever it is run",
                                   "leave out what differs from one run, worker or moment to the "
                                   "next: clocks, dice, files, counters"))
    return _as_source(path, declared)


def _broken(path: Path, *faults: Fault) -> Source:
    return Source(path, faults=tuple(told(path, faults)))


def _run(path: Path, code: CodeType) -> Declared:
    """What the file declares. It is no module: nothing can import it, and it finds what is
    installed, not what lies beside it."""
    with _RUNNING:
        return _run_alone(path, code)


def _run_alone(path: Path, code: CodeType) -> Declared:
    declared = Declared(str(path))
    token, search, modules = OPEN.set(declared), (sys.path, [*sys.path]), dict(sys.modules)
    try:
        # What it prints must not stand amid what a command prints.
        with contextlib.redirect_stdout(sys.stderr):
            exec(code, {"__name__": "definitions", "__file__": str(path)})
    except (Exception, SystemExit) as fault:
        declared.faults.append(_of_exception(path, fault))
    finally:
        OPEN.reset(token)
        declared.faults += _put_back(*search, modules)
    return declared


def _of_exception(path: Path, fault: BaseException) -> Fault:
    """In the line of the file from which it came, however deep it was raised."""
    lines = [line for frame, line in traceback.walk_tb(fault.__traceback__)
             if frame.f_code.co_filename == str(path)]
    said = " ".join(f"{type(fault).__name__}: {fault}".split())[:300]
    remedy = f"mend it: {_RUN}"
    if isinstance(fault, ImportError):
        remedy = ("import what is installed wherever workers run; files beside it are not "
                  "imported: write what they hold into this one")
    return Fault(lines[-1] if lines else 1, said, remedy)


def _put_back(search: list[str], held: list[str], modules: dict[str, ModuleType]) -> list[Fault]:
    """Undo what would change the process; packages that were imported stay, as after any import."""
    faults = []
    if sys.path is not search or search != held:
        search[:], sys.path = held, search
        faults.append(Fault(1, "it changes sys.path", "leave that out: import what is installed"))
    changed = sorted(name for name, module in modules.items()
                     if sys.modules.get(name) is not module)
    if changed:
        sys.modules.update({name: modules[name] for name in changed})
        faults.append(Fault(1, f"it takes {', '.join(changed[:3])} out of sys.modules or replaces "
                            "it", "leave that out"))
    return faults


def _as_source(path: Path, declared: Declared) -> Source:
    if declared.faults:
        return _broken(path, *declared.faults)
    if not (declared.features or declared.entities or declared.segments):
        return _broken(path, Fault(1, "nothing is declared", "call feature(...) or segment(...), "
                                   "or begin the file's name with an underscore"))
    if declared.about is None:
        return _broken(path, Fault(1, "nothing says which version of the file this is",
                                   'write about(version=1, purpose="personalise") above the rest'))
    features = _tree(features=declared.features, entities=declared.entities)
    segments = _tree(segments=declared.segments)
    faults = [*form.about(of_features=bool(features.mapping)).faults(declared.about, "about"),
              *form.DECLARED.faults(features, ""), *form.DECLARED.faults(segments, "")]
    if faults:
        return _broken(path, *faults)
    of_features, of_segments = (_beside(declared.about, tree) if tree.mapping else None
                                for tree in (features, segments))
    return Source(path, of_features, of_segments)


def _beside(about: Spot, tree: Spot) -> Spot:
    """What the file says of itself and what it declares, beside each other as in YAML."""
    return Spot({**(about.mapping or {}), **(tree.mapping or {})}, about.line,
                {**about.key_lines, **tree.key_lines})


def _tree(**declared: dict[str, Spot]) -> Spot:
    parts: dict[str, Spot] = {}
    lines: dict[str, int] = {}
    for name, bodies in declared.items():
        if bodies:
            first = min(spot.line for spot in bodies.values())
            parts[name] = Spot(bodies, first, {each: spot.line for each, spot in bodies.items()})
            lines[name] = first
    return Spot(parts, 1, lines)
