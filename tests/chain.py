"""Running the chain as users run it, for the tests of the notebooks and of the study."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment(home):
    """The environment of a terminal in which the project is active, with another home."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "MEDROB_HOME": str(home), "MEDROB_PROGRESS": "off", "PATH": path}


def run(home, *command):
    """Run a command, which must succeed; what it printed."""
    done = subprocess.run(command, cwd=ROOT, env=environment(home), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout + done.stderr
