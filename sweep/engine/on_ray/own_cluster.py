"""A Ray cluster of one command: on the loopback address of this machine, for this user alone, and gone with its driver.
Nothing here needs Ray, which reads the environment that is set here when it is imported."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import psutil

from sweep.config import ConfigError
from sweep.engine import cluster_guard, worker_start
from sweep.engine.on_ray.fork_server import start_fork_server

LOOPBACK = "127.0.0.1"

SETTINGS = {
    # Ray's way, which it takes by itself on macOS, of listening on the loopback address alone.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # A process for each CPU at the start; trials, whose processes have an environment of their own, use none of them.
    "RAY_prestart_worker_first_driver": "0",
    # A node that is not up within 30 s counts as dead: too soon on a machine that is busy with other things.
    "RAY_raylet_start_wait_time_s": "60",
}

ROOM = 64 * 2**20
"""Bytes that Ray's sockets and logs need."""
LONGEST = 31
"""Characters of the private folder with which Ray's sockets have names that the system takes: 107 with all that follows
it."""
FOLDER_VARIABLE = "RAY_TMPDIR"
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


class OwnCluster:
    """What a cluster of this machine needs beside Ray. authentication: Ray's name of how it knows who belongs to it.
    Raises ConfigError where one cannot be started."""

    def __init__(self, authentication: str = "token") -> None:
        interface = loopback_interface()
        # Another one each time, by which the processes of this cluster are told from those of others.
        self.folder = private_folder() / secrets.token_hex(4)
        """Ray's sockets and logs."""
        # The processes of a run talk to each other over the loopback address, too.
        sockets = {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface}
        os.environ.update(SETTINGS | sockets | {"RAY_AUTH_MODE": authentication})
        os.environ.update({"RAY_AUTH_TOKEN": _token(), cluster_guard.VARIABLE: str(self.folder)})
        self._guard = self.start_guard()
        self._fork_server: subprocess.Popen[bytes] | None = None

    def start_guard(self) -> subprocess.Popen[bytes]:
        """Start the process that ends the others once this one is gone."""
        command = [sys.executable, "-I", cluster_guard.__file__, str(self.folder)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def start_fork_server(self, variables: Mapping[str, str]) -> None:
        """Start the process that is forked for each worker; variables: what these have in their environment. Only Linux
        says of a process what must be known before it is forked."""
        if sys.platform != "linux":
            return
        self.folder.mkdir()
        path = self.folder / "fork_server"
        with path.with_suffix(".log").open("wb") as log:
            self._fork_server = start_fork_server(path, variables, log)
        os.environ[worker_start.VARIABLE] = str(path)

    def close(self) -> None:
        """End every process of the cluster that is left."""
        self._guard.communicate()
        if self._fork_server is not None:
            self._fork_server.wait()


@cache
def _token() -> str:
    """Return the token of the clusters of this process: Ray reads it once."""
    return secrets.token_hex(32)


def loopback_interface() -> str:
    """Return the name of the interface with the loopback address. Raises ConfigError where that takes nothing."""
    try:
        with socket.create_server((LOOPBACK, 0)) as server:
            socket.create_connection(server.getsockname(), 5.0).close()
    except OSError as error:
        raise ConfigError(
            f"Ray cannot start: its processes meet at {LOOPBACK}, which does not answer ({error.strerror or error}); "
            "bring the loopback interface up (ip link set lo up), or train without Ray: --local"
        ) from error
    found = psutil.net_if_addrs().items()
    return next(name for name, addresses in found if any(address.address == LOOPBACK for address in addresses))


def private_folder() -> Path:
    """Make a folder that only this user may enter (Ray opens its own to all), with room, and a path that is short
    enough for sockets: below RAY_TMPDIR, or the system's temporary folder. Raises ConfigError, naming the variable."""
    named = os.environ.get(FOLDER_VARIABLE)
    try:
        above = Path(named or tempfile.gettempdir()).absolute()
        folder = _folder_of_user(above)
        _try_to_write(folder)
        if len(os.fsencode(folder)) > LONGEST:
            folder = _short_folder()
    except OSError as error:
        where = error.filename or named or "the temporary folder"
        raise ConfigError(
            f"Ray cannot start: it keeps sockets and logs in {where}, which does not work ({error.strerror or error}); "
            f"free space there, or set {FOLDER_VARIABLE} to a folder with {ROOM >> 20} MiB that you may write to"
        ) from error
    return folder


def _short_folder() -> Path:
    """Make a private folder with a short path. Raises OSError."""
    for above in map(Path, SHORT_FOLDERS):
        try:
            folder = _folder_of_user(above)
            _try_to_write(folder)
        except OSError as error:
            last = error
        else:
            return folder
    raise last


def _folder_of_user(above: Path) -> Path:
    """Make the folder of this user in one that others may write to. Raises OSError."""
    folder = above / f"ray-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            # Somebody else was first, and could change what is in there.
            return Path(tempfile.mkdtemp(prefix="ray-", dir=above))
        folder.chmod(0o700)
    return folder


def _try_to_write(folder: Path) -> None:
    """Write what a quota or a full disk refuses. Raises OSError."""
    if shutil.disk_usage(folder).free < ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(2**20))


def starting_error(error: BaseException) -> ConfigError:
    """Return an error that says why Ray did not start, and what to change."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ConfigError(
        f"Ray does not start on this machine: {said[0].rstrip('.') if said else type(error).__name__}; its logs are in "
        f"{private_folder()}, {FOLDER_VARIABLE} names another folder for them and its sockets, and "
        "--local trains without Ray"
    )
