"""`python run_local.py`: the app on this machine, and one client that dies.

It starts a SuperLink and two SuperNodes as processes of their own, and `flwr run` sends
them the app. In the second round the process in which the second SuperNode trains is
killed. Flower notices within minutes; the server goes on with the other client, and
both take part in the third round.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

APP = Path(__file__).parent
BIN = Path(sys.executable).parent
CONNECTION = """
[superlink.here]
address = "127.0.0.1:{port}"
insecure = true
"""
TO_STAY_HERE = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}


def free_ports(n):
    """Return ports that nothing listens to."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def start(home, name, *options, output=subprocess.DEVNULL):
    """Start one of Flower's programs, with a folder for its files."""
    variables = {"FLWR_HOME": home, "PYTHONUNBUFFERED": "1", **TO_STAY_HERE}
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        [BIN / name, *map(str, options)],
        env={**os.environ, "PATH": path, **variables},
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(port):
    """Wait until something listens to this port."""
    for _ in range(600):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens to port {port} after a minute")


def run(home, programs):
    """Run the app; return its log."""
    port, *others = free_ports(3)
    Path(home, "config.toml").write_text(CONNECTION.format(port=port))
    superlink = "--insecure", "--disable-runtime-dependency-installation"
    programs.append(start(home, "flower-superlink", *superlink, "--port", port))
    wait_for(port)
    for i, own in enumerate(others):
        node = f"partition-id={i} num-partitions={len(others)}" + i * " dies-in-round=2"
        options = "--superlink", f"127.0.0.1:{port}", "--port", own
        programs.append(
            start(
                home, "flower-supernode", "--insecure", *options, "--node-config", node
            )
        )
    command = "run", APP, "here", "--stream"
    programs.append(start(home, "flwr", *command, output=subprocess.PIPE))
    lines = []
    for line in programs[-1].stdout:
        line = re.sub(r"\x1b\[\d+m|\s+$", "", line)  # colours
        line = line.replace(home, "~/.flwr")  # where it is otherwise
        print(line, flush=True)
        lines.append(line)
    return "\n".join(lines)


def main():
    """Run, and look at the log."""
    programs = []
    with tempfile.TemporaryDirectory() as home:
        try:
            log = run(home, programs)
        finally:
            for program in reversed(programs):
                program.terminate()
                program.wait()
    received = re.findall(r"Received (\d) results and (\d) failures", log)
    assert received == [("2", "0"), ("1", "1"), *3 * [("2", "0")]], received
    distances = [float(x) for x in re.findall(r"'anchor-distance': ([\d.]+)\}", log)]
    accuracy = [float(x) for x in re.findall(r"'test-accuracy': ([\d.]+)\}", log)]
    assert len(distances) == 5, distances
    assert min(distances) > 0.1, distances
    assert accuracy[2] < accuracy[1] < 0.8 < accuracy[-1], accuracy
    print(f"anchor distances {distances}, accuracy at last {accuracy[-1]}")


if __name__ == "__main__":
    main()
