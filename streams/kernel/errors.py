"""The errors an operator may see. Everything else that raises is a bug.

KairosError
├── SettingsError       a KAIROS_ variable is wrong
├── SetupError          the machine lacks something (Java, disk, a free port)
├── UnreachableError    a server we need does not answer
├── PlaybookError       a playbook does not hold (file, line, remedy)
├── DefinitionError     a feature or segment does not hold (file, line, remedy)
├── MappingError        a replay mapping does not hold (file, line, remedy)
├── ContractError       a record does not keep its schema
└── StateError          stored state cannot be used (wrong layout, failed checksum)

What the business expects (refused, duplicate, deferred, poisoned) is a value: see `outcomes`.
"""

from __future__ import annotations


class KairosError(Exception):
    """One clear sentence and its remedy; the command line prints both and exits non-zero."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} — {self.remedy}" if self.remedy else self.message


class SettingsError(KairosError):
    def __init__(self, name: str, fault: str, remedy: str = "") -> None:
        super().__init__(f"{name}: {fault}", remedy)


class SetupError(KairosError):
    pass


class UnreachableError(KairosError):
    pass


class _FileError(KairosError):
    """A fault in a file somebody wrote, with its place."""

    def __init__(self, file: str, line: int, fault: str, remedy: str = "") -> None:
        super().__init__(f"{file}:{line}: {fault}", remedy)
        self.file, self.line, self.fault = file, line, fault


class PlaybookError(_FileError):
    pass


class DefinitionError(_FileError):
    pass


class MappingError(_FileError):
    pass


class ContractError(KairosError):
    """`field` names what is wrong, as a path into the record (`lines[2].price`)."""

    def __init__(self, field: str, fault: str, remedy: str = "") -> None:
        super().__init__(f"{field}: {fault}", remedy)
        self.field, self.fault = field, fault


class StateError(KairosError):
    pass
