"""Whether a scene is the one that it was."""

from __future__ import annotations

import hashlib

from bevformer_lib.scenes.types import Scene


def scene_fingerprint(scene: Scene) -> str:
    """Return a sha256 (hex) that changes with the scene's frames: their metas, and their images' names and sizes."""
    digest = hashlib.sha256()
    for frame in scene.frames:
        if frame.sha256 is not None:
            digest.update(frame.sha256.encode())
            continue
        digest.update(frame.meta_path.read_bytes())
        for image in frame.images:
            stored = f"\n{image.path.name} {image.path.stat().st_size} {image.rows}\n"
            digest.update(stored.encode())
    return digest.hexdigest()
