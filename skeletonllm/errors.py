"""Every error that a user of SkeletonLLM can meet.

    SkeletonLLMError
    ├── ConfigError      (ValueError)    a recipe or option cannot work
    ├── DataError        (ValueError)    the data breaks its contract
    │   ├── FormatError                  a source file; says file, line or offset, expected, found
    │   │   └── NobodyError              it is whole, but nobody is seen in it
    │   ├── ShardError                   one shard, or its manifest
    │   └── ChainError                   a reply is not a chain
    ├── TeacherError     (RuntimeError)  the teacher did not answer
    │   ├── TeacherBusyError             it may answer later; asking again makes sense
    │   ├── RequestError                 one request brought no answer; the others are asked all the same
    │   └── BudgetError                  a cap on cost, tokens or requests is reached; a higher one lets it go on
    ├── ServerError      (RuntimeError)  a model behind an address did not answer
    ├── BackendError     (RuntimeError)  a named backend is not on this machine
    └── CheckpointError  (RuntimeError)  cannot save, load or resume

A message says where, what is, what should be, what to do. Each error takes that one message, so it survives a worker
boundary (several constructor arguments do not pickle).
"""


class SkeletonLLMError(Exception):
    """Anything that SkeletonLLM raises on purpose."""


class ConfigError(SkeletonLLMError, ValueError):
    """A recipe or an option cannot work."""


class DataError(SkeletonLLMError, ValueError):
    """The data breaks its contract."""


class FormatError(DataError):
    """A source file is not what its format promises."""


class NobodyError(FormatError):
    """A source file is whole, but nobody is seen in it: a sensor that missed the person."""


class ShardError(DataError):
    """A shard, or the manifest of its data set, is damaged or missing."""


class ChainError(DataError):
    """A teacher's reply is not a reasoning chain."""


class TeacherError(SkeletonLLMError, RuntimeError):
    """The teacher refused or could not be reached; asking again in the same way will not help."""


class TeacherBusyError(TeacherError):
    """The teacher is busy or did not answer in time; asking again later may help."""


class RequestError(TeacherError):
    """One request brought no answer; the others are asked all the same."""


class BudgetError(TeacherError):
    """A cap on what the teacher may take is reached; a higher one lets it go on."""


class ServerError(SkeletonLLMError, RuntimeError):
    """A model behind an address refused, could not be reached, or answered what cannot be read."""


class BackendError(SkeletonLLMError, RuntimeError):
    """A backend that the configuration names is not on this machine."""


class CheckpointError(SkeletonLLMError, RuntimeError):
    """A checkpoint cannot be saved, loaded or resumed."""
