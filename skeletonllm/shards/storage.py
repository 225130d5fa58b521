"""Where data sets lie: a local folder, or a bucket of an object store that `pyarrow.fs` speaks to (s3://, gs://).

A `RemotePath` knows the few words of `pathlib.Path` that data sets need, so that whatever writes or reads one takes either.
"""

import contextlib
import fnmatch
import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs

from skeletonllm.errors import ConfigError, ShardError
from skeletonllm.plain import sha256_of, write_whole

_SCHEMES = ("s3", "gs")
_CHUNK_BYTES = 8 << 20
# By store without its keys. Keys given in a URI serve this process only; they are never shown, stored or passed on.
_file_systems: dict[str, pyarrow.fs.FileSystem] = {}
_hashed: set[tuple[str, str, int, int, int]] = set()


@dataclass(frozen=True)
class Stat:
    """Size and last change of an object, by the names of `os.stat_result`."""

    st_size: int
    st_mtime_ns: int


@dataclass(frozen=True)
class RemotePath:
    """A place in an object store.

    Args:
        store: scheme, bucket and options, without keys: `s3://bucket?region=eu-west-1`.
        key: the place in the bucket, without a slash at either end.
    """

    store: str
    key: str

    def __str__(self) -> str:
        base, question, options = self.store.partition("?")
        return f"{base}/{quote(self.key)}{question}{options}"

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(self.store, f"{self.key}/{name}".strip("/"))

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.key).name

    @property
    def parent(self) -> "RemotePath":
        """Without the last part."""
        return RemotePath(self.store, self.key.rpartition("/")[0])

    def stat(self) -> Stat:
        """Size and last change.

        Raises:
            FileNotFoundError: nothing is there.
        """
        info = self._files.get_file_info(self._place)
        if info.type != pyarrow.fs.FileType.File:
            raise FileNotFoundError(str(self))
        return Stat(info.size, info.mtime_ns)

    def exists(self) -> bool:
        """Whether an object is there; a prefix of others does not count."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def glob(self, pattern: str) -> Iterator["RemotePath"]:
        """Objects below whose parts match, such as `*/manifest.json`."""
        wanted = pattern.split("/")
        below = pyarrow.fs.FileSelector(self._place, recursive=len(wanted) > 1, allow_not_found=True)
        for info in self._files.get_file_info(below):
            parts = info.path.removeprefix(f"{self._place}/").split("/")
            fits = len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))
            if fits and info.type == pyarrow.fs.FileType.File:
                yield RemotePath(self.store, info.path.partition("/")[2])

    def chunks(self) -> Iterator[bytes]:
        """The object's bytes, some at a time.

        Raises:
            FileNotFoundError: nothing is there.
        """
        with self._files.open_input_stream(self._place) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk

    def read_bytes(self) -> bytes:
        """The whole object."""
        return b"".join(self.chunks())

    def write_whole(self, data: "bytes | pa.Buffer") -> None:
        """Upload so that the object appears whole or not at all.

        pyarrow completes an upload when its stream is closed or forgotten, also after an error in the middle. So the
        bytes go to a temporary key first, are counted, and are then copied inside the store, which is atomic.
        """
        temporary = self.parent / f".{self.name}.{uuid.uuid4().hex}.tmp"
        try:
            with self._files.open_output_stream(temporary._place) as stream:
                stream.write(data)
            if temporary.stat().st_size != len(data):
                raise OSError(f"{temporary.stat().st_size} of {len(data)} bytes arrived")
            self._files.move(temporary._place, self._place)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        if not missing_ok or self.exists():
            self._files.delete_file(self._place)

    def mkdir(self, parents: bool = True, exist_ok: bool = True) -> None:
        """Nothing: an object store has no folders."""

    @property
    def _files(self) -> pyarrow.fs.FileSystem:
        if self.store not in _file_systems:
            _file_systems[self.store] = _connect(self.store, self.store)
        return _file_systems[self.store]

    @property
    def _place(self) -> str:
        return f"{urlsplit(self.store).netloc}/{self.key}".rstrip("/")


Location = Path | RemotePath


def locate(place: str | Location) -> Location:
    """A local path, or a place in an object store from its URI.

    Args:
        place: a path, `file:///folder`, `s3://bucket/prefix` or `gs://bucket/prefix`, with pyarrow's options behind a
            `?`, such as `endpoint_override=localhost:9000&scheme=http`. Keys come from the environment, as ever with
            these stores, or from `s3://KEY:SECRET@bucket`; the latter are for this process only.

    Raises:
        ConfigError: no store of this kind, or not its options.
    """
    if isinstance(place, RemotePath):
        return place
    scheme, _, rest = str(place).partition(":/")
    if not rest or "/" in scheme or (isinstance(place, Path) and scheme not in _SCHEMES):
        return Path(place)
    if isinstance(place, Path):
        raise ConfigError(f"{scheme}://…: came as a local path, which has lost a slash; hand the URI on as a text")
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    keys, _, bucket = parts.netloc.rpartition("@")
    options = f"?{parts.query}" if parts.query else ""
    store = f"{parts.scheme}://{bucket}{options}"
    if parts.scheme not in _SCHEMES or not bucket:
        raise ConfigError(f"{store}: no such store; give a folder, s3://bucket/prefix or gs://bucket/prefix")
    if keys:
        _file_systems[store] = _connect(f"{parts.scheme}://{keys}@{bucket}{options}", store)
    return RemotePath(store, unquote(parts.path).strip("/"))


def write(path: Location, data: bytes) -> None:
    """Write a file or an object so that it appears whole or not at all."""
    if isinstance(path, RemotePath):
        path.write_whole(data)
    else:
        write_whole(path, data)


def fetch(path: Location, sha256: str | None = None, cache: Path | None = None) -> Path:
    """A local file with the bytes of `path`: itself, or a copy of the object in the cache folder, named by its hash.

    Args:
        path: a file or an object.
        sha256: of the bytes, where it is known; then a copy that is there already is taken, if it is undamaged.
        cache: `~/.cache/skeletonllm/shards` by default. It only grows; whatever is in it may be deleted.

    Raises:
        ShardError: the object's bytes are not those of the hash.
        OSError: it cannot be fetched.
    """
    if not isinstance(path, RemotePath):
        return path
    cache = Path.home() / ".cache" / "skeletonllm" / "shards" if cache is None else cache
    if sha256 is not None and (copy := cache / f"{sha256}.arrow").exists() and has_hash(copy, sha256):
        return copy
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = cache / f".{uuid.uuid4().hex}.tmp"
    found = hashlib.sha256()
    try:
        with temporary.open("wb") as file:
            for chunk in path.chunks():
                found.update(chunk)
                file.write(chunk)
        if sha256 not in (None, found.hexdigest()):
            raise ShardError(
                f"{path}: its bytes are not those of the manifest (sha256); delete the data set and rebuild it"
            )
        return temporary.replace(cache / f"{found.hexdigest()}.arrow")
    finally:
        temporary.unlink(missing_ok=True)


def has_hash(path: Path, sha256: str) -> bool:
    """Whether a file's bytes have this SHA-256. They are read once per process, as long as nobody touches the file."""
    found = path.stat()
    file = (str(path), sha256, found.st_ino, found.st_size, found.st_mtime_ns)
    if file not in _hashed and sha256_of(path) == sha256:
        _hashed.add(file)
    return file in _hashed


def _connect(uri: str, shown: str) -> pyarrow.fs.FileSystem:
    try:
        return pyarrow.fs.FileSystem.from_uri(uri)[0]
    except (pa.ArrowException, OSError) as error:
        reason = str(error).replace(uri, shown)
    raise ConfigError(f"{shown}: cannot be reached ({reason}); check its options and the keys in the environment")
