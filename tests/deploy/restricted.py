"""The restricted profile of Pod Security, rule by rule, as far as a cluster's admission would hold it against a pod."""

from collections.abc import Callable, Iterator
from typing import Any

Spec = dict[str, Any]

_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
_SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
}
_HOOKS = ("preStop", "postStart")
_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
_SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}


def containers(spec: Spec) -> Iterator[Spec]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind, [])


def violations(spec: Spec) -> list[str]:
    """The rules that a pod breaks."""
    return [rule.__name__ for rule in RULES if not rule(spec)]


def _contexts(spec: Spec) -> Iterator[Spec]:
    yield spec.get("securityContext", {})
    for container in containers(spec):
        yield container.get("securityContext", {})


def _each(spec: Spec, name: str) -> Iterator[Any]:
    """A field for each container, its own or the pod's."""
    default = spec.get("securityContext", {}).get(name)
    for container in containers(spec):
        yield container.get("securityContext", {}).get(name, default)


def no_host_namespaces(spec: Spec) -> bool:
    return not any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))


def no_host_process(spec: Spec) -> bool:
    return not any(context.get("windowsOptions", {}).get("hostProcess") for context in _contexts(spec))


def not_privileged(spec: Spec) -> bool:
    return not any(context.get("privileged") for context in _contexts(spec))


def no_host_ports(spec: Spec) -> bool:
    return not any(port.get("hostPort") for container in containers(spec) for port in container.get("ports", []))


def no_host_in_probes(spec: Spec) -> bool:
    hooks = [container.get("lifecycle", {}).get(name, {}) for container in containers(spec) for name in _HOOKS]
    probes = [container.get(name, {}) for container in containers(spec) for name in _PROBES]
    return not any(probe.get(how, {}).get("host") for probe in hooks + probes for how in ("httpGet", "tcpSocket"))


def only_the_default_apparmor(spec: Spec) -> bool:
    return all(
        context.get("appArmorProfile", {}).get("type", "RuntimeDefault") in ("RuntimeDefault", "Localhost")
        for context in _contexts(spec)
    )


def only_container_selinux(spec: Spec) -> bool:
    options = [context.get("seLinuxOptions", {}) for context in _contexts(spec)]
    return all(
        option.get("type", "") in _SELINUX_TYPES and not option.get("user") and not option.get("role")
        for option in options
    )


def default_proc_mount(spec: Spec) -> bool:
    return all(context.get("procMount", "Default") == "Default" for context in _contexts(spec))


def only_safe_sysctls(spec: Spec) -> bool:
    return {entry["name"] for entry in spec.get("securityContext", {}).get("sysctls", [])} <= _SAFE_SYSCTLS


def only_harmless_volumes(spec: Spec) -> bool:
    return all(set(volume) - {"name"} <= _VOLUMES for volume in spec.get("volumes", []))


def no_escalation(spec: Spec) -> bool:
    return all(c.get("securityContext", {}).get("allowPrivilegeEscalation") is False for c in containers(spec))


def not_as_root(spec: Spec) -> bool:
    return all(value is True for value in _each(spec, "runAsNonRoot"))


def not_the_user_0(spec: Spec) -> bool:
    return all(context.get("runAsUser") != 0 for context in _contexts(spec))


def a_seccomp_profile(spec: Spec) -> bool:
    kinds = [profile and profile.get("type") for profile in _each(spec, "seccompProfile")]
    return all(kind in ("RuntimeDefault", "Localhost") for kind in kinds) and not any(
        context.get("seccompProfile", {}).get("type") == "Unconfined" for context in _contexts(spec)
    )


def no_capabilities(spec: Spec) -> bool:
    held = [container.get("securityContext", {}).get("capabilities", {}) for container in containers(spec)]
    return all("ALL" in some.get("drop", []) and set(some.get("add", [])) <= {"NET_BIND_SERVICE"} for some in held)


RULES: tuple[Callable[[Spec], bool], ...] = (
    no_host_namespaces,
    no_host_process,
    not_privileged,
    no_host_ports,
    no_host_in_probes,
    only_the_default_apparmor,
    only_container_selinux,
    default_proc_mount,
    only_safe_sysctls,
    only_harmless_volumes,
    no_escalation,
    not_as_root,
    not_the_user_0,
    a_seccomp_profile,
    no_capabilities,
)
