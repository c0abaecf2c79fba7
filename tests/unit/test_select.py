"""What a cgroup's path tells, and selectors that look at it."""

from __future__ import annotations

import pytest

from okoomer.facts import Cgroup, Process
from okoomer.policy.model import Selector
from okoomer.policy.select import app_of, cgroup_matcher, compile_pattern, container_of, matcher, pod_of, runnable

ID = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4
UID = "2b2a3f4c-1111-2222-3333-444455556666"
POD = UID.replace("-", "_")


def selector(written: str) -> Selector:
    sign = ":" if ":" in written else "~"
    kind, pattern = written.split(sign, 1)
    return Selector(kind, pattern, compile_pattern(pattern), sign == "~")


@pytest.mark.parametrize(
    ("path", "container"),
    [
        (f"/system.slice/docker-{ID}.scope", ID),
        (f"/docker/{ID}", ID),
        (f"/docker/{ID[:12]}/init", ID[:12]),
        (f"/docker/{ID}/docker/{OTHER}", OTHER),
        (f"/kubepods.slice/kubepods-pod{POD}.slice/cri-containerd-{ID}.scope", ID),
        (f"/kubepods.slice/kubepods-pod{POD}.slice/crio-{ID}.scope/container", ID),
        (f"/kubepods.slice/kubepods-pod{POD}.slice/crio-conmon-{ID}.scope", ""),
        (f"/kubepods/burstable/pod{UID}/{ID}", ID),
        (f"/kubepods/pod{UID}/crio-{ID}", ID),
        (f"/kubepods/pod{UID}/crio-conmon-{ID}", ""),
        (f"/machine.slice/libpod-{ID}.scope", ID),
        (f"/machine.slice/libpod-{ID}.scope/container/a.service", ID),
        (f"/machine.slice/libpod-conmon-{ID}.scope", ""),
        (f"/user.slice/user-1.slice/user@1.service/user.slice/libpod-{ID}.scope", ID),
        (f"/machine.slice/machine-libpod_pod_{ID}.slice/libpod-{OTHER}.scope", OTHER),
        (f"/system.slice/nerdctl-{ID}.scope", ID),
        (f"/system.slice/new-engine-{ID}.scope", ID),
        (f"/default/{ID}", ID),
        ("/lxc.payload.web/system.slice/a.service", "web"),
        ("/lxc.monitor.web", ""),
        ("/lxc/web", "web"),
        ("/machine.slice/machine-a\\x2db.scope/payload", "a-b"),
        ("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/emulator", "qemu-1-vm"),
        ("/machine.slice/systemd-nspawn@web\\x2d1.service/payload/a.scope", "web-1"),
        ("/system.slice/docker.service", ""),
        ("/system.slice/docker-.scope", ""),
        ("/docker/buildkit", ""),
        ("/docker", ""),
        ("/user.slice/user-1.slice/session-3.scope", ""),
        ("/system.slice/run-u123.scope", ""),
        ("/", ""),
        ("", ""),
    ],
)
def test_the_container_that_a_path_lies_in(path: str, container: str) -> None:
    assert container_of(path) == container


@pytest.mark.parametrize(
    ("path", "pod"),
    [
        (f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD}.slice/crio-{ID}.scope", UID),
        (f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{POD}.slice", UID),
        (f"/kubepods/besteffort/pod{UID}/{ID}", UID),
        (f"/kubepods/pod{ID[:32]}", ID[:32]),
        (f"/machine.slice/machine-libpod_pod_{ID}.slice/libpod-{OTHER}.scope", ID),
        ("/kubepods/burstable", ""),
        ("/system.slice/podman.service", ""),
        ("/podium", ""),
        ("/user.slice/app-pod1.slice", ""),
        ("/", ""),
    ],
)
def test_the_pod_that_a_path_lies_in(path: str, pod: str) -> None:
    assert pod_of(path) == pod


APPS = "/user.slice/user-1.slice/user@1.service/app.slice"


@pytest.mark.parametrize(
    ("path", "app"),
    [
        (f"{APPS}/app-gnome-org.gnome.Maps-3456.scope", "org.gnome.Maps"),
        (f"{APPS}/app-org.gnome.Maps-3456.scope/a/b", "org.gnome.Maps"),
        (f"{APPS}/app-org.kde.konsole-0123abcd.scope", "org.kde.konsole"),
        (f"{APPS}/app-flatpak-org.mozilla.firefox-12.scope", "org.mozilla.firefox"),
        (f"{APPS}/app-gnome-google\\x2dchrome-12.scope", "google-chrome"),
        (f"{APPS}/app-firefox@0123.service", "firefox"),
        (f"{APPS}/app-gnome-org.gnome.Evolution\\x2dalarm@autostart.service", "org.gnome.Evolution-alarm"),
        (f"{APPS}/app-org.gnome.Maps.service", "org.gnome.Maps"),
        (f"{APPS}/app-maps.scope", "maps"),
        (f"{APPS}/snap.firefox.firefox-2b2a3f4c-1111-2222-3333-444455556666.scope", "firefox.firefox"),
        (f"{APPS}/snap.firefox.firefox.2b2a3f4c-1111-2222-3333-444455556666.scope", "firefox.firefox"),
        (f"{APPS}/app-org.gnome.Terminal.slice/vte-spawn-x.scope", ""),
        (f"{APPS}/app-a\\xzz\\x2.service", "a\\xzz\\x2"),
        (f"{APPS}/app.slice", ""),
        ("/system.slice/app.service", ""),
        ("/", ""),
    ],
)
def test_the_application_that_a_path_lies_in(path: str, app: str) -> None:
    assert app_of(path) == app


CGROUP = Cgroup(f"/system.slice/docker-{ID}.scope", owner=12, tags=("user.a", "trusted.b"))


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("tag:user.a", True),
        ("tag:user", False),
        ("tag:b", False),
        ("tag~b$", True),
        ("tag:.*", True),
        (f"container:{ID}", True),
        ("container~^0123", True),
        ("container:0123", False),
        ("pod:.+", False),
        ("unit:docker-.*", True),
        ("cgroup:/system.slice/.*", True),
    ],
)
def test_selectors_of_what_a_cgroup_has(written: str, named: bool) -> None:
    process = Process(pid=5, parent=1, name="x", started=0.0, cgroup=CGROUP.path, tags=CGROUP.tags)
    assert matcher((selector(written),))(process) == (written if named else "")
    assert cgroup_matcher((selector(written),))(CGROUP) == (written if named else "")


def test_who_has_no_tag_is_named_by_none() -> None:
    assert not matcher((selector("tag~"),))(Process(pid=5, parent=1, name="x", started=0.0))


@pytest.mark.parametrize("kind", ["name", "exe", "cmdline", "environ", "cwd", "cgroup1"])
def test_what_only_a_process_has_names_no_cgroup(kind: str) -> None:
    assert not cgroup_matcher((selector(f"{kind}~"),))(CGROUP)


def test_a_cgroup_is_its_owners_and_a_slice_is_a_unit() -> None:
    assert cgroup_matcher((selector("name:x"),), (selector("user:12"),))(CGROUP) == "user:12"
    for path, unit in (("/system.slice", "system.slice"), ("/a.service/b.slice", "a.service"), ("/a", "")):
        assert cgroup_matcher((selector(f"unit:{unit or '.+'}"),))(Cgroup(path)) == (f"unit:{unit}" if unit else "")


def test_what_another_python_compiled_does_not_run() -> None:
    code = bytes([1]) + compile_pattern("a")[1:]
    with pytest.raises(ValueError, match="another Python"):
        runnable("a", code)
    with pytest.raises(ValueError, match="another Python"):
        matcher((Selector("name", "a", code),))
