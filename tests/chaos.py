"""Kill what a retraining runs on, one thing after another: it must end in the same, leave no process and block nothing.

Two that are asked for at once must train and promote once.

`python -m tests.chaos` starts a Prefect server, a worker and a Ray cluster of two nodes, retrains once undisturbed, then
once for each thing that is killed (SIGKILL) at a random moment, started again as a supervisor would, and asked again.
"""

import argparse
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from skeletonllm.plain import sha256_of
from skeletonllm.shards.manifest import read_manifest
from skeletonllm.skeleton.simulate import write_sample_data
from tests.kills import descendants, kill_tree

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
KILLED = ("server", "worker", "head", "raylet", "flow")
_MARK = "SKELETONLLM_CHAOS"
_FORMATS = ("ntu", "bvh")
_FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
_RUN_TIMEOUT_S = 1500.0
# How long a run may be silent before it is a zombie: the shortest that Prefect's heartbeats allow.
_HEARTBEAT_S, _ZOMBIE_S = 30, 100


@dataclass
class Service:
    """A process that is started again when it was killed, as a supervisor does."""

    command: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log, cwd=ROOT, start_new_session=True
            )

    def revive(self) -> None:
        """Start it again if it has ended, with what is left of it."""
        if self.process is None or self.process.poll() is not None:
            self.start()

    def stop(self) -> None:
        if self.process is not None:
            kill_tree(self.pid)
            self.process.wait(30)


class Cluster:
    """Everything that a retraining runs on, in a folder of its own."""

    def __init__(self, place: Path, mark: str):
        self.place = place
        api, ray = _free_port(), _free_port()
        self.api = f"http://127.0.0.1:{api}/api"
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "RAY_", "OPENAI"))
        }
        self.environment = {
            **kept,
            _MARK: mark,
            "PYTHONPATH": str(ROOT),
            "SKELETONLLM_HOME": str(ROOT),
            "PREFECT_HOME": str(place / "prefect"),
            "PREFECT_API_URL": self.api,
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(_HEARTBEAT_S),
            # By default leases of slots are kept in memory, and a run that cannot renew its own is ended.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_ADDRESS": f"{_own_address()}:{ray}",
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
            "DO_NOT_TRACK": "1",
        }
        # Two nodes of one machine must not fight for the ports that a node has by default.
        node = [
            *("--block", "--metrics-export-port=0", "--dashboard-agent-listen-port=0"),
            *("--dashboard-agent-grpc-port=0", "--runtime-env-agent-port=0"),
        ]
        commands = {
            "server": ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(api)],
            "head": ["ray", "start", "--head", f"--port={ray}", "--num-cpus=1", "--include-dashboard=false", *node],
            "raylet": ["ray", "start", f"--address={self.environment['RAY_ADDRESS']}", "--num-cpus=1", *node],
            "worker": ["prefect", "worker", "start", "--pool", "skeletonllm"],
        }
        nodes = {name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"}
        self.services = {
            name: Service(
                [str(BIN / command[0]), *command[1:]],
                nodes if command[0] == "ray" else self.environment,
                place / f"{name}.log",
            )
            for name, command in commands.items()
        }

    def start(self) -> None:
        self.services["server"].start()
        self.services["head"].start()
        wait_for(lambda: ask(f"{self.api}/health") is True, 180, "the server")
        self._prefect("work-pool", "create", "skeletonllm", "--type", "process")
        self._prefect("--no-prompt", "deploy", "--all", "--prefect-file", "infra/prefect/prefect.yaml")
        for described in yaml.safe_load((ROOT / "infra/prefect/automations.yaml").read_text()):
            if described["trigger"]["posture"] == "Proactive":
                described["trigger"]["within"] = _ZOMBIE_S
                _answered(f"{self.api}/automations/", described)
        wait_for(self.head_answers, 180, "the head of the cluster")
        self.services["raylet"].start()
        self.services["worker"].start()

    def stop(self) -> None:
        for service in reversed(self.services.values()):
            service.stop()

    def _prefect(self, *arguments: str) -> None:
        subprocess.run(
            [str(BIN / "prefect"), *arguments], env=self.environment, cwd=ROOT, check=True, capture_output=True
        )

    def head_answers(self) -> bool:
        host, _, port = self.environment["RAY_ADDRESS"].rpartition(":")
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return True
        return False

    def kill(self, name: str) -> None:
        """SIGKILL, to the head's control store and raylet too: its parent is only who started them."""
        if name == "flow":
            (flow, *_) = self.flows()
            os.kill(flow, signal.SIGKILL)
        elif name in ("head", "raylet"):
            kill_tree(self.services[name].pid)
        else:
            os.kill(self.services[name].pid, signal.SIGKILL)
            for left in _left_of_server(self.environment[_MARK]) if name == "server" else ():
                os.kill(left, signal.SIGKILL)

    def flows(self) -> list[int]:
        """Processes that execute a flow run."""
        return [pid for pid, command in marked(self.environment[_MARK]) if "-m prefect.engine" in command]

    def revive(self) -> None:
        """What supervisors do: whatever has ended is started again."""
        # Again and again: a head does not start while the other node has not noticed that the last one died.
        server, head = self.services["server"], self.services["head"]
        wait_for(lambda: ask(f"{self.api}/health") is True, 300, "the server", server.revive)
        wait_for(self.head_answers, 300, "the head of the cluster", head.revive)
        self.services["raylet"].revive()
        self.services["worker"].revive()

    def retrain(self, source: Path, workdir: Path) -> str:
        """Ask for a retraining; the id of its run."""
        deployment = _answered(f"{self.api}/deployments/name/retrain/retrain")
        parameters = {"source": str(source), "workdir": str(workdir), "recipe": "smoke", "cross_format": ["bvh"]}
        return _answered(f"{self.api}/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})["id"]

    def state(self, run: str) -> str:
        answer = ask(f"{self.api}/flow_runs/{run}")
        return "" if answer is None else answer["state_type"]

    def finish(self, source: Path, workdir: Path, run: str) -> list[str]:
        """Wait for a run, and ask again until one has completed; how each ended."""
        ended = []
        for _ in range(4):
            wait_for(lambda run=run: self.state(run) in _FINAL, _RUN_TIMEOUT_S, "the run", self.revive)
            ended.append(self.state(run))
            if ended[-1] == "COMPLETED":
                return ended
            run = self.retrain(source, workdir)
        raise AssertionError(f"four runs ended as {ended}; see {self.place}")

    def num_promotions(self) -> int:
        """How often a retraining came as far as to promote, or not."""
        return _answered(f"{self.api}/artifacts/count", {"artifacts": {"key": {"any_": ["promotion"]}}})

    def blocked(self) -> int:
        """Slots of the deployment that somebody holds."""
        deployment = _answered(f"{self.api}/deployments/name/retrain/retrain")
        return deployment["global_concurrency_limit"]["active_slots"]


def _left_of_server(mark: str) -> list[int]:
    """What a server started and did not take with it."""
    return [pid for pid, command in marked(mark) if "prefect.server" in command or "uvicorn" in command]


def marked(mark: str) -> list[tuple[int, str]]:
    """Processes that were started by this program, directly or not, and their command lines."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{_MARK}={mark}".encode() in (path / "environ").read_bytes():
                found.append((int(path.name), (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
    return found


def milestones(workdir: Path) -> int:
    """How far a retraining is: data sets and stages that are finished."""
    return len([*workdir.glob("data/*/*/manifest.json"), *workdir.glob("runs/*/*/done.json")])


def result(workdir: Path) -> dict[str, Any]:
    """What must be the same: fingerprints and bytes of the data sets, of the stages, and of the promoted student."""
    found: dict[str, Any] = {}
    for path in workdir.glob("data/*/*/manifest.json"):
        manifest = read_manifest(path.parent)
        found[str(path.parent.relative_to(workdir))] = (manifest.fingerprint, [one.sha256 for one in manifest.shards])
    for path in workdir.glob("runs/*/*/done.json"):
        found[str(path.parent.relative_to(workdir))] = json.loads(path.read_text())["fingerprint"]
    promoted = json.loads((workdir / "promoted.json").read_text())
    found["promoted"] = (promoted["checkpoint"]["fingerprint"], promoted["right"], promoted["total"])
    for path in Path(promoted["checkpoint"]["path"]).glob("*.safetensors"):
        found[path.name] = sha256_of(path)
    return found


def disturb(cluster: Cluster, name: str, source: Path, workdir: Path, at: int) -> list[str]:
    """Retrain, kill one thing when so many milestones are passed, and finish; how the runs ended."""
    run = cluster.retrain(source, workdir)
    wait_for(lambda: milestones(workdir) >= at and cluster.flows(), _RUN_TIMEOUT_S, f"milestone {at}", cluster.revive)
    cluster.kill(name)
    time.sleep(5)
    cluster.revive()
    return cluster.finish(source, workdir, run)


def fire_twice(cluster: Cluster, source: Path, workdir: Path) -> list[str]:
    """Retrain by the deployment and by hand at the same moment, past the deployment's own limit; how both ended."""
    before = cluster.num_promotions()
    code = "import sys; from flows.retrain import retrain; retrain(*sys.argv[1:], cross_format=['bvh'])"
    command = [sys.executable, "-c", code, str(source), str(workdir), "smoke"]
    with (cluster.place / "by-hand.log").open("ab") as log:
        by_hand = subprocess.Popen(command, env=cluster.environment, cwd=ROOT, stdout=log, stderr=log)
    ended = cluster.finish(source, workdir, cluster.retrain(source, workdir))
    assert by_hand.wait(_RUN_TIMEOUT_S) == 0, (cluster.place / "by-hand.log").read_text()[-2000:]
    assert cluster.num_promotions() == before + 1
    return [*ended, "done"]


def check(cluster: Cluster, workdir: Path, expected: dict[str, Any]) -> None:
    """The same result, no process left of any run, no slot held."""
    assert result(workdir) == expected
    wait_for(lambda: not leftovers(cluster), 60, f"the end of {leftovers(cluster)}")
    wait_for(lambda: cluster.blocked() == 0, 400, "the slot")


def leftovers(cluster: Cluster) -> list[tuple[int, str]]:
    """Processes of ours that belong to no service: flows and trainers that should have ended."""
    kept = {pid for service in cluster.services.values() for pid in (service.pid, *descendants(service.pid))}
    kept -= set(cluster.flows())
    return [(pid, command[:80]) for pid, command in marked(cluster.environment[_MARK]) if pid not in kept]


def wait_for(is_so: Callable[[], Any], seconds: float, what: str, meanwhile: Callable[[], None] | None = None) -> None:
    """Look again and again; what a supervisor does is done meanwhile."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if is_so():
            return
        if meanwhile is not None:
            meanwhile()
        time.sleep(0.5)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")


def ask(url: str, sent: Any = None) -> Any:
    """What the API answers to a question, or to something that is sent; None where it does not answer now."""
    data = None if sent is None else json.dumps(sent).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 503:  # SQLite, which the server has here, was busy: ask again
            return None
        raise AssertionError(f"{url}: {error.code} {error.read().decode()[:500]}") from error
    except OSError:
        return None


def _answered(url: str, sent: Any = None) -> Any:
    """The same, until it answers."""
    found: list[Any] = []
    wait_for(lambda: (answer := ask(url, sent)) is not None and (found.append(answer) or True), 120, url)
    return found[0]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _own_address() -> str:
    """As Ray finds it, since it puts this in place of 127.0.0.1."""
    import ray

    return ray.util.get_node_ip_address()


@contextmanager
def cluster_of(place: Path) -> Iterator[Cluster]:
    """A cluster that is running; afterwards nothing of it may be."""
    cluster = Cluster(place, secrets.token_hex(8))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        left = marked(cluster.environment[_MARK])
        for pid, _ in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if left:
            print(f"had to end {left}", flush=True)


def main() -> None:
    """Kill one after another, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kill", nargs="+", choices=KILLED, default=list(KILLED))
    parser.add_argument("--times", type=int, default=1, help="how often each is killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder to work in, which is kept")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind
    place = (given.keep or Path(tempfile.mkdtemp(prefix="chaos-"))).resolve()
    source = place / "source"
    write_sample_data(source, num_performers=2)
    for folder in source.iterdir():
        if folder.is_dir() and folder.name not in _FORMATS:
            shutil.rmtree(folder)
    started = time.monotonic()
    with cluster_of(place) as cluster:
        ended = cluster.finish(source, place / "undisturbed", cluster.retrain(source, place / "undisturbed"))
        expected, last = result(place / "undisturbed"), milestones(place / "undisturbed")
        print(f"undisturbed: {', '.join(ended)}, {last} milestones, {time.monotonic() - started:.0f} s", flush=True)
        ended = fire_twice(cluster, source, place / "twice")
        check(cluster, place / "twice", expected)
        took = f"{time.monotonic() - started:.0f} s"
        print(f"fired twice at once: {', '.join(ended)}; promoted once, all the same, {took}", flush=True)
        for number in range(given.times):
            for name in given.kill:
                at = random.Random(f"{given.seed}/{number}/{name}").randint(1, last - 2)
                workdir = place / f"{name}-{number}"
                ended = disturb(cluster, name, source, workdir, at)
                check(cluster, workdir, expected)
                took = f"{time.monotonic() - started:.0f} s"
                print(f"{name} killed after milestone {at}: {', '.join(ended)}; all the same, {took}", flush=True)
    if given.keep is None:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
