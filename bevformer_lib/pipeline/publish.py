"""Publishing a build: the alias `latest` moves to it, if its gates let it."""

from __future__ import annotations

from bevformer_lib.errors import GateError, StoreError
from bevformer_lib.pipeline.builds import Build, read_build
from bevformer_lib.pipeline.gates import LATEST, read_verdict, require_gates
from bevformer_lib.store.aliases import AliasEntry, Expected, get_alias, set_alias
from bevformer_lib.store.base import BUILDS, Store
from bevformer_lib.store.retrieve import build_of


def named_build(store: Store, what: str) -> Build:
    """Return the build that an alias, an id or the first digits of one name.

    Raises:
        StoreError: there is none, or the digits fit several.
    """
    identity = build_of(store, what)
    if identity is None:
        known = ", ".join(store.list_records(BUILDS)[-5:]) or "none"
        raise StoreError(
            f"{store.uri}: {what} names no build; give an alias, an id or at least six digits of one (there are: "
            f"{known}; `bevformer log --store` tells more)"
        )
    return read_build(store, identity)


def publish_build(store: Store, build: Build, *, force: str | None = None) -> AliasEntry:
    """Let `latest` name a build; of two publishers at once one wins.

    A verdict holds against the build that was published when it was made. Where another one has been published since,
    the build has to be judged again; going back to an earlier build has to be forced.

    Args:
        store: holds the build.
        build: to publish.
        force: publish whatever the gates say; the reason, which is kept with the move.

    Raises:
        GateError: the build failed gates, or was judged against a build that is no longer the published one.
        StoreError: the build was made without gates, or another publisher was faster.
    """
    current = get_alias(store, LATEST)
    expected = Expected(None if current is None else current.target)
    if current is not None and current.target == build.identity:
        return current
    if force is None:
        where = f"bevformer store get {store.uri} {build.identity} --output DIR"
        require_gates(store, build, report=f"`{where}` copies it out")
        _require_current(store, build, expected.target or "")
        return set_alias(store, LATEST, build.identity, expected=expected)
    if not force.strip():
        raise GateError(f"build {build.identity}: say why it is published by force", build.identity)
    failed = ", ".join(result.name for result in read_verdict(store, build).failed) or "none"
    note = f"forced: {force.strip()} (failed gates: {failed})"
    return set_alias(store, LATEST, build.identity, expected=expected, note=note)


def _require_current(store: Store, build: Build, published: str) -> None:
    judged_against = read_verdict(store, build).baseline
    if judged_against != published:
        raise GateError(
            f"build {build.identity} was judged against {judged_against or 'no published build'}, but "
            f"{published or 'nothing'} is published now; build it again to have it judged, or give --force REASON to "
            "go back to it",
            build.identity,
        )
