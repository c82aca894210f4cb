"""What is in deploy/ and the Dockerfile, read as the tests need it."""

import json
import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from server.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
ENVIRONMENT = {"NATS_PASSWORD": "p0123456789abcdef"}
CRDS = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1"}  # whoever installs them has their schema; these are not ours
_FACTORS = {"": 1, "m": 0.001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}

Document = dict[str, Any]


def documents(path: Path) -> list[Document]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


@cache
def manifests() -> dict[str, Document]:
    """Each object that a cluster gets, as `Kind/name`."""
    paths = [path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml"]
    found = [document for path in sorted(paths) for document in documents(path)]
    named = {f"{document['kind']}/{document['metadata']['name']}": document for document in found}
    assert len(named) == len(found), "two have the same kind and name"
    return named


def pods() -> dict[str, Document]:
    """The pod templates by the names of their owners."""
    return {
        name: manifest["spec"]["template"]
        for name, manifest in manifests().items()
        if "template" in manifest.get("spec", {})
    }


def ours() -> dict[str, Document]:
    """The pod templates that run this program."""
    return {name: pod for name, pod in pods().items() if pod["spec"]["containers"][0]["image"] == "pyrunner"}


def environment(container: Document) -> dict[str, str]:
    """What a container's program finds. Of a secret's value that there is one; `$(NAME)` is put in."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= manifests()[f"ConfigMap/{source['configMapRef']['name']}"]["data"]
    for entry in container.get("env", []):
        value = entry.get("value", ENVIRONMENT.get(entry["name"], ""))
        found[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda name: found[name[1]], value)
    return found


@cache
def services() -> dict[str, Document]:
    """The services of the compose file, `${…}` put in."""
    text = (DEPLOY / "compose.yaml").read_text()
    text = re.sub(r"\$\{(\w+):-([^}]*)\}", r"\2", text)
    text = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda name: ENVIRONMENT[name[1]], text)
    assert "${" not in text
    found: dict[str, Document] = yaml.safe_load(text)["services"]
    return found


def compose_environment(service: str) -> dict[str, str]:
    return {name: str(value) for name, value in services()[service]["environment"].items()}


@cache
def dockerfile() -> list[tuple[str, str]]:
    """Its instructions, each with its arguments."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", "").splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines) if name]


def told(instruction: str) -> list[str]:
    """The arguments of each such instruction."""
    return [rest for name, rest in dockerfile() if name == instruction]


def image_environment() -> dict[str, str]:
    return dict(part.split("=", 1) for rest in told("ENV") for part in shlex.split(rest))


def health_command() -> list[str]:
    (check,) = told("HEALTHCHECK")
    command: list[str] = json.loads(check.partition("CMD ")[2])
    return command


def settings_of(env: dict[str, str]) -> Settings:
    """The settings that a container with these variables has. Raises for one that is none, and for a wrong value."""
    env = image_environment() | env
    given = {name.removeprefix("PYRUNNER_").lower(): value for name, value in env.items() if name[:9] == "PYRUNNER_"}
    unknown = set(given) - set(Settings.model_fields)
    assert not unknown, f"no settings: {unknown}"
    return Settings(_env_file=None, **given)  # type: ignore[call-arg]


@dataclass(frozen=True)
class Deployed:
    """A gateway or node as it is deployed."""

    settings: Settings
    memory_mib: float  # that it may use
    patience_s: float  # from SIGTERM to SIGKILL


@cache
def deployed(name: str) -> Deployed:
    """`Deployment/…` of the cluster, or `compose/…`."""
    kind, _, own = name.partition("/")
    if kind == "compose":
        service = services()[own]
        memory = quantity(service["mem_limit"].upper() + "i")
        return Deployed(
            settings_of(compose_environment(own)), memory / 2**20, float(service["stop_grace_period"].removesuffix("s"))
        )
    spec = ours()[name]["spec"]
    (container,) = spec["containers"]
    before_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    memory = quantity(container["resources"]["limits"]["memory"])
    return Deployed(
        settings_of(environment(container)), memory / 2**20, spec["terminationGracePeriodSeconds"] - before_s
    )


def quantity(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)(\w*)", text)
    assert match and match[2] in _FACTORS, text
    return float(match[1]) * _FACTORS[match[2]]
