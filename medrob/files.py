"""Where runs lie, and files that appear whole or not at all."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import filelock

PROJECT = Path(__file__).resolve().parents[1]
CLONE = (PROJECT / "Snakefile").is_file()  # else the package was installed alone, into site-packages
ALONE = "" if CLONE else " (notebooks, Makefile and Snakefile come with medrob's repository, not with pip)"

TEXTS = (".json", ".yaml", ".yml", ".txt")
# Of what the names of texts are made that belong to no network in particular.
GENERAL = re.compile(
    r"(class(es)?|labels?|categor(y|ies)|names?|ind(ex|ices)|idx|ids?|conf(ig)?s?|cfg|h?param(eter)?s?|args?|models?|"
    r"meta(data)?|pre|process(or|ing)?|transform(ation)?s?|norm(ali[sz](e|ation))?|data(set|module)?|calib(ration)?|"
    r"temperature|settings?|train(ing)?|val|test|infer(ence)?|inputs?|images?|open|clip|hyper|list|map(ping)?|dict|"
    r"info|stats|mean|std|to|2)+"
)
WEIGHTS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".tar", ".pkl", ".h5", ".onnx")


def home() -> Path:
    """The folder that holds ``data/`` and ``figures/``: $MEDROB_HOME, the clone, else the working folder."""
    return Path(os.environ.get("MEDROB_HOME") or (PROJECT if CLONE else "")).absolute()


def cache() -> Path:
    """Where decoded images and the like are kept; it may be removed at any time."""
    return home() / "data" / "cache"


def exists(path: Path) -> bool:
    """Whether something lies there; a name that is too long for the system is no error, nothing is there."""
    with contextlib.suppress(OSError, ValueError):
        return path.exists()
    return False


def hold(path: Path, what: str) -> filelock.BaseFileLock:
    """Hold a lock until it is released or this process ends, however it ends; only one process can.

    Raises:
        RuntimeError: another process holds it. OSError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path, is_singleton=True)  # the same process can hold it twice
        lock.acquire(timeout=0)
    except filelock.Timeout:
        advice = "wait until it has ended, stop it, or set MEDROB_HOME to another folder"
        raise RuntimeError(f"another process is working on {what}; {advice}") from None
    except OSError as error:
        advice = "check the permissions and the free space, or set MEDROB_HOME to another folder"
        raise type(error)(f"could not write {path.parent}: {error.strerror}; {advice}") from error
    return lock


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success make it durable and rename it to `path`.

    An error inside leaves what stood at `path` untouched and removes the temporary file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if str(error).startswith("could not write"):  # several files are written together: one is named
            raise
        raise type(error)(
            f"could not write {path}: {error.strerror or error}; nothing was changed. "
            "Check the free space and the permissions, or set MEDROB_HOME to another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def beside(file: Path) -> list[Path]:
    """The texts beside weights that may tell their settings and classes.

    Each word in a name is one of `GENERAL` or of the name of the weights, and no other weights are called so.
    A text called like the weights comes first, then ours, then what prepares images.
    """

    def words(path: Path) -> list[str]:
        return [word for word in re.split(r"[\W_]+", path.stem.casefold()) if word]

    there, own = [*file.parent.iterdir()], words(file)
    others = {path.stem for path in there if path.suffix in WEIGHTS} - {file.stem}
    texts = [p for p in there if p.suffix in TEXTS and p.stem not in others and p.stat().st_size < 1 << 20]
    texts = [p for p in texts if all(word in own or GENERAL.fullmatch(word) for word in words(p))]
    return sorted(
        texts, key=lambda p: (not {*own} <= {*words(p)}, p.stem != "model", "process" not in p.stem, p)
    )


def checksum(path: Path) -> str:
    """SHA-256 of a file; 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(files: Sequence[Path | None]) -> list[str | None]:
    """The SHA-256 of files; None where there is none. A file is read once: its hash is kept in the cache, and
    holds while its inode, its size and both its times are the same, one of which no program can set.
    """
    store, known = cache() / "contents.json", dict[str, str]()
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):  # not there, or damaged
        known = dict(json.loads(store.read_text()))
    before, found = len(known), list[str | None]()
    for file in files:
        if file is None or not exists(file):
            found.append(None)
            continue
        state = file.stat()
        now = f"{file.absolute()} {state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"
        if now not in known:
            known[now] = checksum(file)
        found.append(known[now])
    if len(known) > before:
        # Where it cannot be written, files are read again next time.
        with contextlib.suppress(OSError), atomic(store) as part:
            part.write_text(json.dumps(known))
    return found


def differing(files: Mapping[Path, str]) -> Iterator[str]:
    """Which files are missing, are folders or do not have their checksums any more, in words."""
    for file, made in files.items():
        where = os.path.relpath(file, home())
        if not exists(file):
            yield f"{where} is missing"
        elif not file.is_file():
            yield f"{where} is a folder; delete it or move it away"
        elif checksum(file) != made:
            yield f"{where} was changed after it was made (its checksum differs)"
