"""Preparation of PASCAL VOC by TensorFlow Datasets, in a separate process.

    python -m jaxssd.data.formats.tfds.prepare voc/2007 --data-dir DIR

Preparing needs TensorFlow, which would take the memory of the GPU. So `prepare` starts this module as another process,
and only that one imports TensorFlow.

VOC's own archive in `DIR/downloads/manual` replaces a download, if it is byte for byte the archive that TFDS expects.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxssd.data.formats.tfds.detect import ARCHIVES

COMMAND = (sys.executable, "-m", "jaxssd.data.formats.tfds.prepare")

TIMEOUT = 20
"""Seconds that the server has to answer. TFDS itself would wait for minutes."""

PARENT = "JAXSSD_PARENT"
"""Environment variable with the id of the process that waits for this one. If that ends, this one ends too."""

_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",  # writing files needs no GPU
    "JAX_PLATFORMS": "cpu",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


def manual_dir(data_dir: Path) -> Path:
    """Folder in which TFDS looks for archives before it downloads them."""
    return data_dir / "downloads" / "manual"


def prepare(name: str, data_dir: Path) -> None:
    """Prepare a data set in another process, which shows its progress on standard error.

    Args:
        name: `voc/2007` or `voc/2012`.
        data_dir: TFDS's folder of data sets.

    Raises:
        OSError: if it cannot be prepared. The message has the reason, and what to do without a network.
    """
    command = [*COMMAND, name, "--data-dir", str(data_dir)]
    environment = {**os.environ, **_ENVIRONMENT, PARENT: str(os.getpid())}
    result = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=False)
    if result.returncode == 0:
        return
    output = result.stdout.decode(errors="replace").strip().splitlines()
    how = f"signal {-result.returncode}" if result.returncode < 0 else f"exit status {result.returncode}"
    reason = output[-1] if output else f"its process ended with {how} and no message"
    raise OSError(
        f"{name} could not be prepared in {data_dir}: {reason}\n"
        f"Without a network there are two ways: put VOC's own {' and '.join(ARCHIVES[name])} into "
        f"{manual_dir(data_dir)} and start again; or unpack them with tar xf, and give --data VOCdevkit/VOC{name[-4:]}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare a data set in this process. If that fails, print the reason in one line on standard output.

    Args:
        arguments: command line arguments.

    Returns:
        Exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m jaxssd.data.formats.tfds.prepare", description=__doc__.split("\n")[0]
    )
    parser.add_argument("name", choices=sorted(ARCHIVES))
    parser.add_argument("--data-dir", type=Path, required=True, help="TFDS's folder of data sets")
    options = parser.parse_args(arguments)
    if parent := os.environ.get(PARENT):
        threading.Thread(target=_go_with, args=(int(parent),), daemon=True).start()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # messages of TFDS
            _prepare_here(options.name, options.data_dir.expanduser())
    except Exception as error:  # the network, the disk, TFDS and TensorFlow can raise nearly anything
        print(f"{type(error).__name__}: {' '.join(str(error).split())}")
        return 1
    return 0


def _go_with(parent: int) -> None:
    """End this process when its parent has ended."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _prepare_here(name: str, data_dir: Path) -> None:
    import requests
    import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    missing = _missing_archives(name, data_dir)
    here = [archive for archive in ARCHIVES[name] if archive not in missing]
    print(f"{name}: {_state(here, missing, builder)}", file=sys.stderr)
    for url in (url for url, info in builder.url_infos.items() if info.filename in missing[:1]):
        requests.head(url, timeout=TIMEOUT)  # any answer will do; only silence is an error
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))


def _missing_archives(name: str, data_dir: Path) -> list[str]:
    """Archives that are neither in the folder for manual downloads nor downloaded before."""
    downloads = data_dir / "downloads"
    # TFDS records each download in an .INFO file.
    records = "".join(path.read_text(errors="replace") for path in downloads.glob("**/*.INFO"))
    return [file for file in ARCHIVES[name] if not (manual_dir(data_dir) / file).exists() and file not in records]


def _state(here: Sequence[str], missing: Sequence[str], builder: Any) -> str:
    megabytes = sum(info.size for info in builder.url_infos.values() if info.filename in missing) / 1e6
    download = [f"downloads {' and '.join(missing)} ({megabytes:,.0f} MB)"] if missing else []
    return ", ".join([*(f"found {archive}" for archive in here), *download]) + f"; prepares {builder.data_path}"


if __name__ == "__main__":
    sys.exit(main())
