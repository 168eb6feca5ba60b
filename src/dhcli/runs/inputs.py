"""What a job is made from: its inputs, opened once for all that is done with them, and the hashes that identify them.

Inputs whose hash is in the cache are not read for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from dhcli.disk.writes import Writes
from dhcli.jobs.options import Job, parse_face
from dhcli.media.input_file import InputFile
from dhcli.networks.bundle import Bundle
from dhcli.render.plan import Contents
from dhcli.results.parts import ModelInfo
from dhcli.results.uptodate import Ingredients
from dhcli.runs.attempt_record import AttemptRecord
from dhcli.runs.settings import Settings
from dhcli.runtime.scope import Scope


class JobInputs:
    """The inputs of one attempt. Files and hashes go into its record."""

    def __init__(
        self,
        job: Job,
        settings: Settings,
        record: AttemptRecord,
        stack: contextlib.ExitStack,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """The inputs stay open until `stack` closes. `alive` is called during downloads, and may raise."""
        self._job, self._settings, self._record, self._stack, self._alive = job, settings, record, stack, alive

    def open(self) -> tuple[InputFile, InputFile]:
        """Video and audio. Raises DhError input.*."""
        record, job = self._record, self._job
        if record.video is None or record.audio is None:
            record.video = self._opened(job.video, "video")
            record.audio = self._opened(job.audio, "audio")
            if (photo := parse_face(job.options.face).photo) is not None:
                record.photo = self._opened(photo, "photo")
        return record.video, record.audio

    def _opened(self, path: Path, role: str) -> InputFile:
        web, root = self._settings.web, self._settings.root
        download = None if web is None else web.get(path, role, self._alive)
        return self._stack.enter_context(InputFile(path, role, root=root, download=download))

    def watch(self) -> None:
        """Notice writes to the inputs from now on. Not for jobs that are skipped: ending the watch takes 16 ms."""
        writes = self._stack.enter_context(Writes())
        for file in (self._record.video, self._record.audio, self._record.photo):
            if file is not None:
                file.watch(writes)

    def known(self) -> Ingredients | None:
        """What the job is made from, where the inputs need not be read for it. Raises DhError input.*, model.*."""
        video, audio = (self._known(file) for file in self.open())
        photo = self._record.photo
        photo_sha256 = self._known(photo) if photo is not None else None
        if video is None or audio is None or (photo is not None and photo_sha256 is None):
            return None
        return self._made_from(video, audio, photo_sha256)

    def identify(self, scope: Scope) -> Ingredients:
        """What the job is made from. Raises DhError input.*, model.*, and Stopped."""
        if self._record.ingredients is None:
            video, audio = self.open()
            self._settings.models.check(self._job.options.model)  # before hours of video are read
            photo = self._record.photo
            with scope.stage("hash"):  # asking the cache may take some time, too
                photo_sha256 = self._sha256(photo, scope) if photo is not None else None
                return self._made_from(self._sha256(video, scope), self._sha256(audio, scope), photo_sha256)
        return self._record.ingredients

    def contents(self) -> Contents:
        """The hashes of the inputs that are known without reading them. Raises DhError input.*."""
        video, audio = self.open()
        if (made_from := self._record.ingredients) is not None:
            return Contents(made_from.video_sha256, made_from.audio_sha256, made_from.photo_sha256)
        photo, known = self._record.photo, self._known
        return Contents(known(video), known(audio), known(photo) if photo is not None else None)

    def _known(self, file: InputFile) -> str | None:
        """The hash in the cache; None where there is none, and with `--verify`, as it relies on the times."""
        if self._settings.verify:
            return None
        sha256 = self._settings.hashes.known(file.fd)
        if sha256 is not None:
            file.set_sha256(sha256, lambda: self._settings.hashes.forget(file.fd))
        return sha256

    def _sha256(self, file: InputFile, scope: Scope) -> str:
        hashes, verify = self._settings.hashes, self._settings.verify
        file.trusted_times = not verify
        sha256 = hashes.sha256(file.fd, lambda: content_sha256(file, scope), anew=verify)
        file.set_sha256(sha256, lambda: hashes.forget(file.fd))
        return sha256

    def _made_from(self, video_sha256: str, audio_sha256: str, photo_sha256: str | None) -> Ingredients:
        models, model, enhancer = self._settings.models, self._job.options.model, self._job.options.enhancer
        wanted = models.precision
        self._record.ingredients = Ingredients(
            audio_sha256=audio_sha256,
            video_sha256=video_sha256,
            model=_model_info(models.bundle(model)),
            face_finder=_model_info(models.finder_bundle),
            options=self._record.options,
            family_version=models.family_version(model),
            enhancer=_model_info(models.enhancer_bundle(enhancer)) if enhancer is not None else None,
            photo_sha256=photo_sha256,
            precision=None if wanted == "auto" else wanted,
        )
        return self._record.ingredients


def _model_info(bundle: Bundle) -> ModelInfo:
    return ModelInfo(name=bundle.name, sha256=bundle.sha256)


def content_sha256(file: InputFile, scope: Scope) -> str:
    """The hash of a file's present content, read in the stage "hash"."""

    def alive() -> None:
        scope.check()
        scope.beat("hash")

    with scope.stage("hash"):
        return file.sha256(alive)
